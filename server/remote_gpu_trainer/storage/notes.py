"""Which uploads this computer began, one small file each. A file that is locked belongs to a copy that lives."""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from pydantic import ValidationError

from remote_gpu_trainer.domain.uploads import Upload

ENDING = ".json"
MOST_BYTES = 64 << 10
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class Note:
    """A note that this process holds. The kernel lets go of it when the process dies, however it dies."""

    def __init__(self, upload: Upload, place: Path, fd: int) -> None:
        self.upload = upload
        self._place, self._fd = place, fd

    def end(self) -> None:
        """Remove it, and let go."""
        self._place.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go; it stays. Safe to repeat."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class NoteFolder:
    """The notes of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, upload: Upload) -> Note:
        """Write one and hold it; it is on the disk, and locked, before it has its name.

        Raises:
            OSError: it could not be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = secrets.token_hex(8)
        draft, place = self._folder / name, self._folder / f"{name}{ENDING}"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, upload.model_dump_json().encode("utf-8"))
            os.fsync(fd)
            draft.rename(place)
            self._sync()
        except BaseException:  # whatever ended it, there is no note, and the descriptor must not stay open
            draft.unlink(missing_ok=True)
            place.unlink(missing_ok=True)
            os.close(fd)
            raise
        return Note(upload, place, fd)

    def left(self) -> list[Note]:
        """Those that no living copy holds, now held."""
        held: list[Note] = []
        for place in self._places():
            with contextlib.suppress(OSError):
                fd = os.open(place, os.O_RDWR | _FLAGS)
                note = _taken(place, fd)
                if note is None:
                    os.close(fd)
                else:
                    held.append(note)
        return held

    def noted(self) -> list[Upload]:
        """All, whoever holds them."""
        found: list[Upload] = []
        for place in self._places():
            with contextlib.suppress(OSError, ValidationError):
                found.append(Upload.model_validate_json(place.read_bytes()[:MOST_BYTES]))
        return found

    def _places(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{ENDING}"))

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _taken(place: Path, fd: int) -> Note | None:
    """The note, if nobody else holds it and it still has its name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(fd), place.stat()):
            return None
        return Note(Upload.model_validate_json(os.pread(fd, MOST_BYTES, 0)), place, fd)
    except (OSError, ValidationError):  # held by a living copy, ended a moment ago, or no note of ours
        return None
