"""What a rescue brought home is held against the machine's own hashes before it counts as copied over SSH."""

import contextlib
import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from importlib import resources

import anyio
import anyio.to_thread

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.errors import ConnectionCut, RemoteCommandFailed, TransferError
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.chunks import Finished
from remote_gpu_trainer.transfer.crowd import Crowd
from remote_gpu_trainer.transfer.farpython import python
from remote_gpu_trainer.transfer.halves import name_on_disk, staging_of
from remote_gpu_trainer.transfer.landing import Landing, full_or_other
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.shelf import Shelf
from remote_gpu_trainer.transfer.tasks import SMALL, FileTask

PATIENCE_S = 60.0
SLOWEST = 20e6
"""Bytes for each second that a machine hashes at the least. One that takes longer sends its files once more."""
MOST_LINE = 100
NO_HASH = "0" * 64
_ANSWER = re.compile(rb"(\d{1,10}) ([0-9a-f]{64}|-)")


class Claims:
    """Files of a copy of which a rescue brought all bytes, or the first of them, with the hashes that these have here.

    Each stays open until the machine, asked for its file of the listed size and nanosecond, names the same hash. Then a
    whole one is noted as one that came over SSH, and a beginning becomes that of an unfinished file.
    """

    def __init__(self, tasks: Crowd, shelf: Shelf, lease: LeaseId) -> None:
        self._tasks, self._shelf = tasks, shelf
        self._staging = staging_of(shelf.landing, lease)
        self._numbers, self._lengths, self._hashes = array("I"), array("Q"), bytearray()
        self._staged, self._heard = bytearray(), bytearray()

    def add(self, number: int, sha256: str) -> None:
        """Take in a file that has its name, by its number in the copy."""
        self._add(number, self._tasks.size(number), sha256, staged=False)

    def _add(self, number: int, length: int, sha256: str, *, staged: bool) -> None:
        self._numbers.append(number)
        self._lengths.append(length)
        self._hashes += bytes.fromhex(sha256)
        self._staged.append(staged)
        self._heard.append(0)

    def add_staged(self) -> None:
        """Take in what a rescue that did not come to its end has of the files that are still open, and not taken in.

        Raises:
            OSError: it cannot be read.
        """
        if not self._staging.is_dir():
            return
        known = set(self._numbers)
        staged = Landing(self._staging)
        try:
            for number in self._tasks.fates.open_ones():
                task = self._tasks[number]
                seen = None if number in known else staged.look(name_on_disk(task))
                if seen is not None and _is_worth_it(task, seen.st_size):
                    sha256 = staged.sha256(name_on_disk(task))
                    self._add(number, seen.st_size, sha256 or NO_HASH, staged=True)
        finally:
            staged.close()

    def __len__(self) -> int:
        return len(self._numbers)

    async def confirm(self, host: RemoteHost, *, patience_s: float = PATIENCE_S) -> None:
        """Ask for the hashes that the machine has not told yet. What it does not tell, or not in time, stays open.

        Raises:
            TransferError: the answer is not one to what was asked.
            ConnectionCut: the connection ended, or the time is over; the same call over another one goes on.
        """
        if 0 not in self._heard:
            return
        program = resources.files("remote_gpu_trainer.transfer").joinpath("far_hasher.py").read_text("utf-8")
        rest = b""
        limit_s = patience_s + sum(self._lengths) / SLOWEST
        with anyio.move_on_after(limit_s) as scope, contextlib.suppress(RemoteCommandFailed):
            async with host.stream(python("-c", program), stdin=self._lines()) as output:
                async for data in output:
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > MOST_LINE:
                        raise _wrong(rest)
                    if any(lines):
                        await anyio.to_thread.run_sync(self._take, lines)
        self._heard = bytearray(b"\1" * len(self))
        if scope.cancelled_caught:
            raise ConnectionCut(f"the machine did not hash its files within {limit_s:.0f} s")

    def _lines(self) -> Iterator[bytes]:
        for at, number in enumerate(self._numbers):
            if not self._heard[at]:
                task = self._tasks[number]
                asked = [at, task.root, task.there, self._lengths[at], task.size, task.mtime_ns]
                yield json.dumps(asked).encode("ascii") + b"\n"

    def _take(self, lines: Sequence[bytes]) -> None:
        done: list[tuple[str, str, Finished]] = []
        for line in filter(None, lines):
            answer = _ANSWER.fullmatch(line)
            at = len(self) if answer is None else int(answer[1])
            if answer is None or at >= len(self) or self._heard[at]:
                raise _wrong(line)
            self._heard[at] = 1
            sha256 = self._hashes[32 * at : 32 * at + 32].hex()
            if answer[2] != sha256.encode("ascii"):
                continue
            task = self._tasks[self._numbers[at]]
            if self._staged[at]:
                self._adopt(task, self._lengths[at], sha256)
                continue
            task.sha256 = sha256
            finished = Finished(task.source, task.size, task.mtime_ns, sha256)
            done.append((task.path, task.key, finished))
        try:
            self._shelf.chunks.finish(done)
        except OSError as bad:
            raise full_or_other(bad, self._shelf.landing.path) from bad

    def _adopt(self, task: FileTask, length: int, sha256: str) -> None:
        """Make what a rescue has of a file the beginning of the unfinished one, in place of the less that was there."""
        landing, chunks = self._shelf.landing, self._shelf.chunks
        try:
            staged = Landing(self._staging)
            try:
                staged.hand_over(name_on_disk(task), landing, task.key)
            finally:
                staged.close()
            os.chmod(task.key, 0o600, dir_fd=landing.partials)
            chunks.forget(task.key)
            chunks.add_beginning(task.key, length, sha256)
            task.begin_with(length)
            if not task.missing():
                self._shelf.finish(task)
        except OSError as bad:
            raise full_or_other(bad, landing.path) from bad


def _is_worth_it(task: FileTask, length: int) -> bool:
    """Whether so many first bytes of a file are more than is here of it; a small one comes whole, or not at all."""
    if length != task.size and (length > task.size or task.size <= SMALL):
        return False
    return length > sum(high - low for low, high in task.have)


def _wrong(line: bytes) -> TransferError:
    return TransferError(
        f"the machine answered {shown(line.decode('utf-8', 'replace'))!r} where a hash of a file was asked for",
        next_step="treat the machine as broken or hostile; repeat once, then take the bucket or another route",
        effect="No finished file was touched.",
    )
