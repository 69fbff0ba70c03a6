"""Carrying files to a machine: ask what is there, send the rest in bundles, and ask again after a cut."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import islice
from typing import Any, cast

import anyio.to_thread

from remote_gpu_trainer.errors import ConnectionCut, RemoteCommandFailed
from remote_gpu_trainer.ports import Clock, RemoteHost
from remote_gpu_trainer.transfer.cargo import Cargo, Parcel, Piece
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.farpython import python
from remote_gpu_trainer.transfer.fetch import BROKEN, FAR_S, REPORT_S, Line, drop
from remote_gpu_trainer.transfer.limits import Progress, ProgressSink
from remote_gpu_trainer.transfer.paths import shown

BUNDLE_BYTES = 16 << 20
BUNDLE_FILES = 2000
LOOK_FILES = 20_000
CHANNELS = 4
"""At once where the round trip is long: OpenSSH lets 2 MiB be under way on each."""
READ = 1 << 20
MOST_LINE = 1 << 20
OTHER_BYTES = "other bytes arrived than were hashed"


class Sender:
    """Sends a cargo below one folder of the machine; its counters go over all rounds of one push."""

    def __init__(self, line: Line, destination: str, cargo: Cargo, clock: Clock, progress: ProgressSink | None) -> None:
        self._line, self._destination, self._clock, self._progress = line, destination, clock, progress
        self._program = resources.files("remote_gpu_trainer.transfer").joinpath("far_receiver.py").read_text("utf-8")
        self._began, self._reported = clock.monotonic(), -REPORT_S
        self._cargo, self._total, self._count = cargo, 0, 0
        self.sent = 0
        """Bytes of files that left."""

    async def run(self) -> None:
        """Bring every file there, or mark it as stale.

        Raises:
            ConnectionCut: too many cuts in a row without progress.
            RemoteCommandFailed: the machine cannot write, or answers something else than was asked.
        """
        cargo = self._cargo
        self._total, self._count = cargo.total(), cargo.count()
        while cargo.is_open():
            host: RemoteHost | None = None
            before = cargo.there
            try:
                host = await self._line.take()
                await self._look(host)
                await self._send(host)
            except BROKEN as cut:
                await drop(host)
                if cargo.there > before:
                    self._line.fruitless = 0
                await self._line.pause(cut)
            except BaseException:  # a cancellation too: what is half sent on this connection is never used again
                await drop(host)
                raise
            else:
                self._line.give_back(host)
        self._report(last=True)

    async def _look(self, host: RemoteHost) -> None:
        waiting = self._cargo.open_ones()
        while some := list(islice(waiting, LOOK_FILES)):
            rows = [json.dumps([p.file.path, p.size, p.sha256, p.file.executable]) for p in some]
            answers = _Answers(some)
            async with host.stream(self._command, stdin=self._head("look") + "\n".join(rows).encode()) as output:
                async for data in output:
                    answers.feed(data)
            answers.end()

    async def _send(self, host: RemoteHost) -> None:
        """Several channels of one connection work the bundles off; a cut ends them all."""
        waiting = _bundles(piece for parcel in self._cargo.open_ones() for piece in parcel.pieces())
        cuts: list[Exception] = []

        async def work() -> None:
            while not cuts and (bundle := next(waiting, None)):
                try:
                    await self._bundle(host, bundle)
                except BROKEN as cut:
                    cuts.append(cut)
                self._report()

        far = getattr(host, "round_trip_s", 0.0) >= FAR_S
        await crew(work, CHANNELS if far else 1)
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

    def _report(self, *, last: bool = False) -> None:
        now = self._clock.monotonic()
        if self._progress is None or (now - self._reported < REPORT_S and not last):
            return
        self._reported = now
        finished = self._cargo.done()
        done = min(self._total, self._cargo.there - finished)
        rate = self.sent / max(now - self._began, 1e-3)
        self._progress(
            Progress(
                bytes_done=done,
                bytes_total=self._total,
                files_done=finished,
                files_total=self._count,
                rate=rate,
                eta_s=(self._total - done) / rate if rate else None,
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
        parcel.spoil()
        return
    raise RemoteCommandFailed(
        f"the machine cannot write {shown(parcel.file.path)}: {shown(reason)}",
        next_step="look at the machine's disk and at what stands at the destination, then repeat the push: it goes on",
        effect="Files that arrived whole are there; this one and those after it are as they were.",
    )


def _bundles(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    bundle: list[Piece] = []
    size = 0
    for piece in pieces:
        if bundle and (size + piece.length > BUNDLE_BYTES or len(bundle) >= BUNDLE_FILES):
            yield bundle
            bundle, size = [], 0
        bundle.append(piece)
        size += piece.length
    if bundle:
        yield bundle


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
            parcel.spoil()
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
