"""What a rescue brought home is held against the machine's own hashes before it counts as copied over SSH."""

import contextlib
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from importlib import resources

import anyio
import anyio.to_thread

from remote_gpu_trainer.errors import RemoteCommandFailed, TransferError
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.chunks import Finished
from remote_gpu_trainer.transfer.crowd import Crowd
from remote_gpu_trainer.transfer.landing import full_or_other
from remote_gpu_trainer.transfer.manifests import python
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.shelf import Shelf

PATIENCE_S = 60.0
SLOWEST = 20e6
"""Bytes for each second that a machine hashes at the least. One that takes longer sends its files once more."""
MOST_LINE = 100
_ANSWER = re.compile(rb"(\d{1,10}) ([0-9a-f]{64}|-)")


class Claims:
    """Files of a copy that lie here, with the hashes that they have here. Each stays open until the machine, asked for
    its file of the listed size and nanosecond, names the same hash; then it is noted as one that came over SSH."""

    def __init__(self, tasks: Crowd, shelf: Shelf) -> None:
        self._tasks, self._shelf = tasks, shelf
        self._numbers, self._hashes = array("I"), bytearray()
        self._heard = bytearray()

    def add(self, number: int, sha256: str) -> None:
        """Take in a file by its number in the copy."""
        self._numbers.append(number)
        self._hashes += bytes.fromhex(sha256)
        self._heard.append(0)

    def __len__(self) -> int:
        return len(self._numbers)

    async def confirm(self, host: RemoteHost) -> None:
        """Ask for the hashes that the machine has not told yet. What it does not tell, or not in time, stays open.

        Raises:
            TransferError: the answer is not one to what was asked.
            ConnectionCut: the connection ended; the same call over another one goes on.
        """
        program = resources.files("remote_gpu_trainer.transfer").joinpath("far_hasher.py").read_text("utf-8")
        size = sum(map(self._tasks.size, self._numbers))
        rest = b""
        with anyio.move_on_after(PATIENCE_S + size / SLOWEST), contextlib.suppress(RemoteCommandFailed):
            async with host.stream(python("-c", program), stdin=self._lines()) as output:
                async for data in output:
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > MOST_LINE:
                        raise _wrong(rest)
                    if any(lines):
                        await anyio.to_thread.run_sync(self._take, lines)

    def _lines(self) -> Iterator[bytes]:
        for at, number in enumerate(self._numbers):
            if not self._heard[at]:
                task = self._tasks[number]
                entry = task.entry
                asked = [at, task.root, entry.path, entry.size, entry.size, entry.mtime_ns]
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
            task.sha256 = sha256
            finished = Finished(task.source, task.entry.size, task.entry.mtime_ns, sha256)
            done.append((task.path, task.key, finished))
        try:
            self._shelf.chunks.finish(done)
        except OSError as bad:
            raise full_or_other(bad, self._shelf.landing.path) from bad


def _wrong(line: bytes) -> TransferError:
    return TransferError(
        f"the machine answered {shown(line.decode('utf-8', 'replace'))!r} where a hash of a file was asked for",
        next_step="treat the machine as broken or hostile; repeat once, then take the bucket or another route",
        effect="No finished file was touched.",
    )
