"""Whether what was copied is still there, byte for byte."""

from pathlib import Path

from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.errors import UnsafePath
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.paths import shown


def recheck_local(receipt: CopyReceipt) -> list[str]:
    """Read every local file of a receipt again and compare size and hash. Returns differences, one sentence each.

    Blocking, at the speed of the disk or of sha256; call it on a worker thread.
    """
    folder = Path(receipt.destination)
    if not folder.is_dir():
        return [f"{folder} is not there"]
    try:
        landing = Landing(folder)
    except (OSError, UnsafePath) as bad:
        return [f"{folder} cannot be read: {bad}"]
    differences: list[str] = []
    try:
        for entry in receipt.manifest.files:
            seen = landing.look(entry.path)
            if seen is None:
                differences.append(f"{shown(entry.path)} is missing, or no plain file any more")
            elif seen.st_size != entry.size:
                differences.append(f"{shown(entry.path)} has {seen.st_size} bytes, not {entry.size}")
            elif landing.sha256(entry.path) != entry.sha256:
                differences.append(f"{shown(entry.path)} holds other bytes than were copied")
    finally:
        landing.close()
    return differences
