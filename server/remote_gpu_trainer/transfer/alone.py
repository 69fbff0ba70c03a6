"""One copy at a time into one folder: two would write the same unfinished files, and one map of what has arrived."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

from remote_gpu_trainer.errors import DestinationBusy, TransferError
from remote_gpu_trainer.transfer.landing import LOCK, Landing, full_or_other
from remote_gpu_trainer.transfer.paths import PARTIAL_FOLDER, shown

TRIES = 10
"""How often the folder may be tidied up by a copy that ends, just when this one begins."""
MOST_SAID = 200


@contextlib.contextmanager
def alone(destination: Path, who: str) -> Generator[None]:
    """Hold a folder for one copy. It never waits, and the system lets go for a process that dies.

    The lock lies with the unfinished files, so that it holds for every process, and every computer, that writes there.
    What was made for it and is empty in the end is removed.

    Args:
        destination: Of the copy; made when missing.
        who: What another one is told that comes meanwhile.

    Raises:
        DestinationBusy: another copy holds it.
        TransferError: it cannot be written, or its file system has no locks.
    """
    made = [one for one in (destination, *destination.parents) if not one.exists()]
    landing, held = _hold(destination)
    try:
        with contextlib.suppress(OSError):  # a full disk: who holds it is then not told
            os.truncate(held, 0)
            os.pwrite(held, who.encode()[:MOST_SAID], 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            landing.drop_partial(LOCK)
        fcntl.flock(held, fcntl.LOCK_UN)  # a process that was forked off meanwhile may have it open as well
        os.close(held)
        landing.close()
        for place in (destination / PARTIAL_FOLDER, *made):
            with contextlib.suppress(OSError):  # it holds something
                place.rmdir()


def _hold(destination: Path) -> tuple[Landing, int]:
    for left in reversed(range(TRIES)):
        try:
            landing = Landing(destination)
        except (OSError, TransferError) as bad:
            cause = bad.__cause__ if isinstance(bad, TransferError) else bad
            if left and isinstance(cause, FileNotFoundError | FileExistsError):
                continue  # a copy that ended has just tidied up
            raise (full_or_other(bad, destination) if isinstance(bad, OSError) else bad) from cause
        held = -1
        try:
            held = landing.open_partial(LOCK)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), os.stat(LOCK, dir_fd=landing.partials, follow_symlinks=False)):
                return landing, held
        except FileNotFoundError:
            pass
        except BlockingIOError:
            said = os.pread(held, MOST_SAID, 0).decode("utf-8", "replace")
            _let_go(landing, held)
            raise _busy(destination, said) from None
        except OSError as bad:
            _let_go(landing, held)
            raise (full_or_other(bad, destination) if held < 0 else _no_locks(destination, bad)) from bad
        _let_go(landing, held)
    raise _busy(destination, "several begin and end at this moment")


def _let_go(landing: Landing, held: int) -> None:
    if held >= 0:
        os.close(held)
    landing.close()


def _busy(destination: Path, said: str) -> DestinationBusy:
    return DestinationBusy(
        f"another copy into {destination} is under way ({shown(said) or 'it does not say whose'})",
        effect="Nothing was copied by this call, no file was touched, and the other copy goes on.",
    )


def _no_locks(destination: Path, bad: OSError) -> TransferError:
    return TransferError(
        f"the file system of {destination} has no locks ({bad.strerror}), so that it cannot be seen whether another "
        "copy writes there",
        next_step="choose a destination on another file system, such as a local disk, or have this one mounted with "
        "locks",
        effect="Nothing was copied, and no file was touched.",
    )
