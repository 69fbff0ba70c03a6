"""One process on the machine that lists what it is asked for, and waits for the next question.

To start a command there costs a login shell with all that its owner wrote into its profile, and a Python: as long as a
few hundred megabytes take from nearby.
"""

import json
import queue
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from remote_gpu_trainer.errors import InvalidRequest, RemoteCommandFailed
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.farpython import python
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.roster import Roster, malformed

BEGIN = "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))),'manifest','exec'))"
"""The program comes over standard input, which stays open for the questions: a command line may be too short for it."""
PIECE = 1 << 17
"""Bytes of a list, some thousand files, that are read here while the machine lists the next ones."""


@dataclass(frozen=True)
class Question:
    """What is to be listed.

    Args:
        roots: Absolute folders.
        hash_files: Whether the machine reads and hashes every file.
        earlier: An earlier answer about the same roots: of a list that is still the same only that is said.
        without: Absolute paths, as they are named from the roots, that are not listed with what is below them.
        for_copy: All that is listed is to be copied, so that the limits on files and bytes hold for it as well.

    Raises:
        InvalidRequest: a root is not an absolute, plain path.
    """

    roots: Sequence[str]
    hash_files: bool = False
    earlier: Roster | None = None
    without: Sequence[str] = ()
    for_copy: bool = False

    def __post_init__(self) -> None:
        for root in self.roots:
            if not root.startswith("/") or "\0" in root or ".." in root.split("/"):
                raise InvalidRequest(
                    f"{root!r} is no absolute path without '..'",
                    next_step="name folders such as /workspace/out",
                    effect="Nothing was copied.",
                )

    def line(self, limits: CopyLimits) -> bytes:
        """As the machine reads it."""
        words = [word for root in self.roots for word in ("--root", root)]
        words += [word for path in self.without for word in ("--without", path)]
        words += [word for digest in (self.earlier.digests if self.earlier else ()) for word in ("--known", digest)]
        words += ["--max-entries", str(limits.max_entries), "--max-depth", str(limits.max_depth)]
        words += ["--hash"] if self.hash_files else []
        return json.dumps(words).encode("ascii") + b"\n"

    def roster(self, limits: CopyLimits) -> Roster:
        """What takes the answer."""
        return Roster(
            list(self.roots),
            max_entries=limits.max_entries,
            max_depth=limits.max_depth,
            earlier=self.earlier,
            within=limits if self.for_copy else None,
        )


class Lister:
    """Asks over one connection; after a failure over the next one that it is given. One caller at a time."""

    def __init__(self, script: bytes, limits: CopyLimits) -> None:
        """Nothing is started yet. ``script`` is the content of ``scripts/manifest.py``."""
        self._script, self._limits = script, limits
        self._held: AsyncExitStack | None = None
        self._input: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._output: AsyncIterator[bytes] | None = None
        self._asked: deque[Question] = deque()
        self._rest = b""

    @property
    def waits(self) -> bool:
        """Whether a process waits for a question."""
        return self._output is not None

    @property
    def unanswered(self) -> int:
        """Questions that were sent and not answered yet."""
        return len(self._asked)

    async def ask(self, host: RemoteHost, *questions: Question) -> None:
        """Send questions, over this connection where no process waits for them. Each has to be answered.

        Raises:
            ConnectionCut: the connection takes no command.
        """
        if self._output is None:
            await self._start(host)
        self.send(*questions)

    def send(self, *questions: Question) -> None:
        """Send questions to the process that waits; where it is gone, the answer says so."""
        self._asked.extend(questions)
        self._input.put(b"".join(question.line(self._limits) for question in questions))

    async def answer(self) -> Roster:
        """The answer to the first question that has none.

        Raises:
            RemoteCommandFailed: the machine has no Python, or its list is malformed.
            LimitExceeded: a list is longer than the limits.
            ConnectionCut: the connection ended first. After each of these nothing waits any more.
        """
        try:
            if self._output is None or not self._asked:
                raise RemoteCommandFailed("nothing waits there for a question", effect="Nothing was concluded.")
            roster = self._asked.popleft().roster(self._limits)
            self._rest = roster.feed(self._rest)
            while not roster.whole:
                data = await anext(self._output, b"")
                if not data:
                    await self.aclose()  # says how it ended, where that was no good end
                    roster.end()
                self._rest = roster.feed(data)
            if self._rest and not self._asked:
                raise malformed("a header that nobody expects")
        except BaseException:  # a cancel too: half an answer must not be taken for the next one
            await self.aclose()
            raise
        return roster

    async def aclose(self) -> None:
        """End what waits. Safe to repeat."""
        held, self._held, self._output = self._held, None, None
        self._asked.clear()
        self._rest = b""
        self._input.put(None)
        if held is not None:
            await held.aclose()

    async def _start(self, host: RemoteHost) -> None:
        self._input = queue.SimpleQueue()
        self._input.put(self._script)
        self._held = AsyncExitStack()
        command = python("-c", BEGIN, str(len(self._script)), "--more")
        output = await self._held.enter_async_context(host.stream(command, stdin=_lines(self._input), chunk=PIECE))
        self._output = aiter(output)


def _lines(waiting: "queue.SimpleQueue[bytes | None]") -> Iterator[bytes]:
    """The input, as it comes; for a thread of its own."""
    while (piece := waiting.get()) is not None:
        yield piece
