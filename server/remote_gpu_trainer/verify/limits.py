"""How much one file's verification may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VerifyLimits:
    """Limits on the workers. The wall time of a file grows with its size."""

    workers: int = 2
    memory_bytes: int = 1 << 30
    """Data of a worker; libraries, and a loader that maps the file, get address space on top."""
    seconds: float = 60.0
    """Wall and CPU time of any file."""
    bytes_per_second: float = 20e6
    """Least rate: each byte of a file adds its share to the time."""
    files: int = 1_000_000

    def seconds_for(self, size: int) -> float:
        """Seconds allowed for a file of ``size`` bytes."""
        return self.seconds + size / self.bytes_per_second
