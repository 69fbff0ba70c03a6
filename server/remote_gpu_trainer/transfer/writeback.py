"""Bringing big files to the disk while they still arrive, so that the last sync has little left to wait for."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from remote_gpu_trainer.transfer.landing import Landing

T = TypeVar("T")
EACH = 64 << 20


class Writeback:
    """Syncs unfinished files behind their writers' backs, one at a time. Called under the lock of its shelf."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._thread = ThreadPoolExecutor(1, "write-back")
        self._waiting: dict[str, int] = {}
        self._syncing: dict[str, Future[None]] = {}

    def wrote(self, name: str, size: int) -> None:
        """Note bytes of an unfinished file; from 64 MiB on they are brought to the disk.

        Raises:
            OSError: an earlier sync of this file failed.
        """
        waiting = self._waiting.get(name, 0) + size
        under_way = self._syncing.get(name)
        if under_way is not None and under_way.done():
            self._syncing.pop(name).result()
            under_way = None
        if waiting >= EACH and under_way is None:
            self._syncing[name] = self._thread.submit(self._sync, name)
            waiting = 0
        self._waiting[name] = waiting

    def demand(self, name: str) -> None:
        """Wait for the sync of a file that is under way. The kernel tells a failed write only once: here.

        Raises:
            OSError: it failed.
        """
        self._waiting.pop(name, None)
        if (under_way := self._syncing.pop(name, None)) is not None:
            under_way.result()

    def soon(self, work: Callable[[T], None], argument: T) -> Future[None]:
        """Do something else about the disk, after what is under way."""
        return self._thread.submit(work, argument)

    def close(self) -> None:
        """Wait for the end of what is under way."""
        self._thread.shutdown(cancel_futures=True)

    def _sync(self, name: str) -> None:
        fd = self._landing.open_partial(name)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
