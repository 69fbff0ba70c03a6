"""Carrying files to a machine: ask what is there, send the rest in bundles, and ask again after a cut."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, cast

import anyio.to_thread

from remote_gpu_trainer.errors import ConnectionCut, RemoteCommandFailed
from remote_gpu_trainer.ports import Clock, RemoteHost
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.farpython import python
from remote_gpu_trainer.transfer.fetch import BROKEN, FAR_S, REPORT_S, Line, drop
from remote_gpu_trainer.transfer.limits import Progress, ProgressSink
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.survey import LocalFile

PIECE = 8 << 20
"""Bytes of a big file that are sent as one."""
BUNDLE_BYTES = 16 << 20
BUNDLE_FILES = 2000
LOOK_FILES = 20_000
CHANNELS = 4
"""At once where the round trip is long: OpenSSH lets 2 MiB be under way on each."""
READ = 1 << 20
MOST_LINE = 1 << 20
OTHER_BYTES = "other bytes arrived than were hashed"


@dataclass
class Parcel:
    """One local file with its hash, and what the machine has of it."""

    file: LocalFile
    size: int
    sha256: str
    have: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    done: bool = False
    stale: bool = False
    """Its bytes are no longer those that were hashed."""

    def take(self, ranges: list[tuple[int, int]]) -> None:
        """Believe the machine's ranges; the whole is proven by its hash in the end."""
        self.have = ranges
        self.done = self.done or ranges == [(0, self.size)]

    def pieces(self) -> "list[Piece]":
        """What is missing, cut; an empty file is one piece of no bytes."""
        if not self.size:
            return [Piece(self, 0, 0)]
        out, at = list[Piece](), 0
        for start, end in [*self.have, (self.size, self.size)]:
            out += [Piece(self, low, min(PIECE, start - low)) for low in range(at, start, PIECE)]
            at = max(at, end)
        return out


@dataclass(frozen=True)
class Piece:
    """One range of one file."""

    parcel: Parcel
    offset: int
    length: int


def weigh(file: LocalFile) -> Parcel:
    """Hash a file. Blocking.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(file.open(), "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return Parcel(file, content.tell(), digest)


class Sender:
    """Sends parcels below one folder of the machine; its counters go over all rounds of one push."""

    def __init__(self, line: Line, destination: str, clock: Clock, progress: ProgressSink | None) -> None:
        self._line, self._destination, self._clock, self._progress = line, destination, clock, progress
        self._program = resources.files("remote_gpu_trainer.transfer").joinpath("far_receiver.py").read_text("utf-8")
        self._began, self._reported = clock.monotonic(), -REPORT_S
        self.sent = 0
        """Bytes of files that left."""

    async def run(self, parcels: Sequence[Parcel]) -> None:
        """Bring every parcel there, or mark it as stale.

        Raises:
            ConnectionCut: too many cuts in a row without progress.
            RemoteCommandFailed: the machine cannot write, or answers something else than was asked.
        """
        while open_ := [parcel for parcel in parcels if not (parcel.done or parcel.stale)]:
            host: RemoteHost | None = None
            before = self._there(parcels)
            try:
                host = await self._line.take()
                await self._look(host, open_)
                await self._send(host, parcels)
            except BROKEN as cut:
                await drop(host)
                if self._there(parcels) > before:
                    self._line.fruitless = 0
                await self._line.pause(cut)
            except BaseException:  # a cancellation too: what is half sent on this connection is never used again
                await drop(host)
                raise
            else:
                self._line.give_back(host)
        self._report(parcels, last=True)

    async def _look(self, host: RemoteHost, parcels: Sequence[Parcel]) -> None:
        for at in range(0, len(parcels), LOOK_FILES):
            some = parcels[at : at + LOOK_FILES]
            rows = [json.dumps([p.file.path, p.size, p.sha256, p.file.executable]) for p in some]
            answers = _Answers(some)
            async with host.stream(self._command, stdin=self._head("look") + "\n".join(rows).encode()) as output:
                async for data in output:
                    answers.feed(data)
            answers.end()

    async def _send(self, host: RemoteHost, parcels: Sequence[Parcel]) -> None:
        """Several channels of one connection work the bundles off; a cut ends them all."""
        waiting = _bundles([piece for p in parcels if not (p.done or p.stale) for piece in p.pieces()])
        cuts: list[Exception] = []

        async def work() -> None:
            while waiting and not cuts:
                try:
                    await self._bundle(host, waiting.pop(0))
                except BROKEN as cut:
                    cuts.append(cut)
                self._report(parcels)

        far = getattr(host, "round_trip_s", 0.0) >= FAR_S
        await crew(work, min(CHANNELS if far else 1, len(waiting)))
        if cuts:
            raise cuts[0]

    async def _bundle(self, host: RemoteHost, pieces: Sequence[Piece]) -> None:
        body, sent = await anyio.to_thread.run_sync(_read, pieces)
        if not sent:
            return
        answers = _Answers([piece.parcel for piece in sent])
        self.sent += sum(piece.length for piece in sent)
        async with host.stream(self._command, stdin=self._head("take") + body) as output:
            async for data in output:
                answers.feed(data)
        answers.end()

    @property
    def _command(self) -> list[str]:
        return python("-c", self._program)

    def _head(self, do: str) -> bytes:
        return json.dumps({"to": self._destination, "do": do}).encode("ascii") + b"\n"

    def _there(self, parcels: Sequence[Parcel]) -> int:
        return sum(p.size + 1 if p.done else sum(end - start for start, end in p.have) for p in parcels)

    def _report(self, parcels: Sequence[Parcel], *, last: bool = False) -> None:
        now = self._clock.monotonic()
        if self._progress is None or (now - self._reported < REPORT_S and not last):
            return
        self._reported = now
        total = sum(parcel.size for parcel in parcels)
        finished = sum(parcel.done for parcel in parcels)
        done = min(total, self._there(parcels) - finished)
        rate = self.sent / max(now - self._began, 1e-3)
        self._progress(
            Progress(
                bytes_done=done,
                bytes_total=total,
                files_done=finished,
                files_total=len(parcels),
                rate=rate,
                eta_s=(total - done) / rate if rate else None,
            )
        )


class _Answers:
    """The machine's answers, one line for each question, in order."""

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        self._parcels, self._number, self._rest = parcels, 0, b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE:
            raise _wrong("a line without end")
        for line in filter(None, lines):
            if self._number >= len(self._parcels) or len(line) > MOST_LINE:
                raise _wrong("more than was asked")
            self._one(self._parcels[self._number], line)
            self._number += 1

    def end(self) -> None:
        """Say that the output ended by itself."""
        if self._number < len(self._parcels):
            raise ConnectionCut(f"the machine answered {self._number} of {len(self._parcels)} questions")

    def _one(self, parcel: Parcel, line: bytes) -> None:
        try:
            answer: Any = json.loads(line)
            if isinstance(answer, dict):
                _refused(parcel, str(cast(dict[str, Any], answer).get("error")))
                return
            ranges = [(int(start), int(end)) for start, end in answer]
        except (ValueError, TypeError, RecursionError) as bad:
            raise _wrong("no list of ranges") from bad
        at = 0
        for start, end in ranges:
            if not at <= start <= end <= parcel.size:
                raise _wrong(f"impossible ranges for {shown(parcel.file.path)}")
            at = end
        parcel.take(ranges)


def _refused(parcel: Parcel, reason: str) -> None:
    if reason == OTHER_BYTES:
        parcel.stale = True
        return
    raise RemoteCommandFailed(
        f"the machine cannot write {shown(parcel.file.path)}: {shown(reason)}",
        next_step="look at the machine's disk and at what stands at the destination, then repeat the push: it goes on",
        effect="Files that arrived whole are there; this one and those after it are as they were.",
    )


def _bundles(pieces: Sequence[Piece]) -> list[list[Piece]]:
    bundles: list[list[Piece]] = []
    size = 0
    for piece in pieces:
        if not bundles or size + piece.length > BUNDLE_BYTES or len(bundles[-1]) >= BUNDLE_FILES:
            bundles.append([])
            size = 0
        bundles[-1].append(piece)
        size += piece.length
    return bundles


def _read(pieces: Sequence[Piece]) -> tuple[bytes, list[Piece]]:
    """The body for some pieces; a file that is not what it was is marked, and its pieces are left out."""
    parts: list[bytes] = []
    sent: list[Piece] = []
    for piece in pieces:
        parcel = piece.parcel
        if parcel.stale:
            continue
        try:
            fd = parcel.file.open()
            try:
                data = _range(fd, piece)
            finally:
                os.close(fd)
        except OSError:
            data = None
        if data is None:
            parcel.stale = True
            continue
        row = [parcel.file.path, parcel.size, parcel.sha256, parcel.file.executable, piece.offset, piece.length]
        parts += [json.dumps(row).encode("ascii"), b"\n", data]
        sent.append(piece)
    return b"".join(parts), sent


def _range(fd: int, piece: Piece) -> bytes | None:
    parts: list[bytes] = []
    at, end = piece.offset, piece.offset + piece.length
    while at < end and (data := os.pread(fd, min(READ, end - at), at)):
        parts.append(data)
        at += len(data)
    return b"".join(parts) if at == end else None


def _wrong(what: str) -> RemoteCommandFailed:
    return RemoteCommandFailed(
        f"the machine's answer to a push is malformed: {what}",
        next_step="look at the machine's Python and disk, then repeat the push: it goes on",
        effect="Nothing is concluded about the files that were under way.",
    )
