"""Opening the file: private to the user, durable, shared by several processes, never overwritten."""

import os
import sqlite3
import stat
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tenacity
from pydantic import ValidationError

from remote_gpu_trainer.database.closing import Closing
from remote_gpu_trainer.database.schema import MIGRATIONS, migrate
from remote_gpu_trainer.database.text import Unreadable
from remote_gpu_trainer.errors import JournalError, RgtError

BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another process's write. Ours take milliseconds."""

CHECK_UP_TO_BYTES = 64 << 20
"""Files up to this size are checked whole when opened (about 0.1 s at the limit); larger ones page by page in use."""


class Database(Closing):
    """One open file. Thread-safe: one connection behind one lock, since every use is short.

    Args:
        path: The file; it and its folder are made, private to the user, when they are not there.
        steps: The schema's steps; only tests of migration pass others.
        patience_s: Seconds that a write waits for another process's write.

    Raises:
        JournalError: the file is damaged, another program's, from a newer version, or open to other users.
    """

    def __init__(
        self, path: Path, *, steps: Sequence[Sequence[str]] = MIGRATIONS, patience_s: float = BUSY_TIMEOUT_S
    ) -> None:
        self.path = path.absolute()
        self._lock = threading.RLock()
        with self._explained():
            _make_private(self.path)
            self._connection = sqlite3.connect(
                self.path, timeout=patience_s, isolation_level=None, check_same_thread=False
            )
        self._connection.row_factory = sqlite3.Row
        try:
            with self._explained():
                _tune(self._connection, str(self.path))
                migrate(self._connection, str(self.path), steps)
                if self.path.stat().st_size <= CHECK_UP_TO_BYTES:
                    self._check()
        except BaseException:  # whatever ended it, the handle must not stay open
            self._connection.close()
            raise

    def _check(self) -> None:
        verdict = str(self._connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """One durable transaction, alone among all writers of all processes: on disk when the block ends.

        Raises:
            JournalError: the file could not be written; nothing of the block is kept.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """One consistent view.

        Raises:
            JournalError: the file could not be read.
        """
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Generator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:  # whatever ended it, half a change must not stay
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except RgtError:
            raise
        except sqlite3.IntegrityError as problem:
            raise JournalError(
                f"{self.path} refused the change: {problem}",
                next_step="this is a fault in the program; report it with this message",
                effect="Nothing was recorded.",
            ) from problem
        except sqlite3.OperationalError as problem:
            raise JournalError(
                f"{self.path} cannot be used now: {problem}",
                next_step="check free space and permissions of that folder, and that no other program holds the file",
                effect="Nothing was recorded.",
            ) from problem
        except (sqlite3.DatabaseError, ValidationError, Unreadable) as problem:
            raise JournalError(
                f"{self.path} is damaged: {type(problem).__name__}, {str(problem)[:200]}",
                next_step=(
                    f"keep it: move {self.path.name} and the files beside it that start with the same name to another "
                    "folder, then run rgt reconcile, which finds the instances again by their labels"
                ),
                effect="Nothing was overwritten.",
            ) from problem
        except OSError as problem:
            raise JournalError(
                f"{self.path} cannot be opened: {problem.strerror}",
                next_step="check RGT_HOME and the permissions of that folder",
                effect="Nothing was recorded.",
            ) from problem

    def close(self) -> None:
        """Close. Safe to repeat."""
        with self._lock:
            self._connection.close()

    def __repr__(self) -> str:
        return f"Database({str(self.path)!r})"


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter, or see that it is one.

    Raises:
        JournalError: others may write into it, so what lies there may not be ours.
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = folder.stat()
    if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o022:
        raise JournalError(
            f"others may write to {folder} (owner {seen.st_uid}, mode {stat.S_IMODE(seen.st_mode):04o})",
            next_step=f"make it private (chmod 700 {folder}) or point RGT_HOME at a folder of your own",
            effect="Nothing was read from it or written to it.",
        )
    if stat.S_IMODE(seen.st_mode) & 0o055:
        folder.chmod(0o700)


def _make_private(path: Path) -> None:
    private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # SQLite gives its -wal and -shm files the mode of the main file.
        path.chmod(0o600)


def _switches_at_once(problem: BaseException) -> bool:
    # The switch to WAL needs the file alone for a moment, and SQLite does not wait for that by itself.
    return isinstance(problem, sqlite3.OperationalError) and "locked" in str(problem)


@tenacity.retry(
    retry=tenacity.retry_if_exception(_switches_at_once),
    wait=tenacity.wait_random(0.005, 0.05),
    stop=tenacity.stop_after_delay(BUSY_TIMEOUT_S),
    reraise=True,
)
def _tune(connection: sqlite3.Connection, name: str) -> None:
    mode = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
    if mode != "wal":
        raise JournalError(
            f"{name} lies on a file system that cannot hold a write-ahead log (mode {mode})",
            next_step="point RGT_HOME at a local disk",
            effect="Nothing was recorded.",
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves the bytes in the drive's cache
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")  # or INSERT OR REPLACE removes rows past their triggers
