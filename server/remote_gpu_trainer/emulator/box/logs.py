"""A log of a box, kept by the host: appended to, bounded, and read from its end."""

import threading
from pathlib import Path

MOST_BYTES = 8 << 20


class Log:
    """One file; when it is too long, its older half is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def append(self, data: bytes) -> None:
        """Add bytes; nothing happens once the box's folder is gone."""
        with self._lock:
            if not self._path.parent.is_dir():
                return
            with self._path.open("ab") as file:
                file.write(data)
                size = file.tell()
            if size > MOST_BYTES:
                kept = self._path.read_bytes()[-MOST_BYTES // 2 :]
                self._path.write_bytes(kept.partition(b"\n")[2])

    def read(self, tail: int | None) -> str:
        """The last ``tail`` lines, or all."""
        with self._lock:
            text = self._path.read_bytes().decode(errors="replace") if self._path.exists() else ""
        if tail is None:
            return text
        lines = text.splitlines(keepends=True)
        return "".join(lines[-tail:]) if tail > 0 else ""
