"""Bringing code and data to a machine: hash, ask, send what is missing, and let the machine prove every file."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path

import anyio.to_thread
from anyio.from_thread import check_cancelled

from remote_gpu_trainer.domain.artifacts import SkippedEntry
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import DigestMismatch, InvalidRequest, LimitExceeded
from remote_gpu_trainer.ports import Clock, RemoteHost
from remote_gpu_trainer.transfer.cargo import Cargo
from remote_gpu_trainer.transfer.fetch import Line
from remote_gpu_trainer.transfer.limits import CopyLimits, ProgressSink
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.send import Sender
from remote_gpu_trainer.transfer.survey import LocalFile, LocalFiles, Survey, gather, survey

__all__ = ["PushReceipt", "Survey", "push", "survey"]

ROUNDS = 3
"""How often a file that keeps changing here is hashed and sent anew."""
NOTHING_SENT = "Nothing was sent to the machine."


class PushReceipt(Value):
    """What a finished push left on the machine."""

    files: int
    """At the destination now, each with the sha256 that it has here, by the machine's own hashing."""
    bytes: int
    bytes_sent: int
    """Bytes of files that left in this call; what was there already is not in it."""
    skipped: tuple[SkippedEntry, ...]
    """Here and not sent, with the reason."""
    destination: str


async def push(
    open_host: Callable[[], Awaitable[RemoteHost]],
    *,
    source: Path,
    destination: str,
    clock: Clock,
    progress: ProgressSink | None,
    limits: CopyLimits,
) -> PushReceipt:
    """Send a local file or folder to a folder of the machine. The same call again sends only what is missing.

    A folder's content lands in the destination, a single file in it under its own name. Each file is written beside,
    hashed there, and renamed; one that is there with the same sha256 is left as it is. Nothing is deleted there.

    Args:
        open_host: Opens a connection; called again after a cut.
        source: File or folder on this computer.
        destination: Absolute folder on the machine; made when missing.
        clock: Time.
        progress: Told at most twice a second, from the event loop.
        limits: Of the policy.

    Raises:
        InvalidRequest: the source or the destination cannot be used.
        LimitExceeded: more than the policy allows. Nothing was sent.
        DigestMismatch: a file changed here during each of three attempts.
        RemoteCommandFailed: the machine cannot write there, or has no Python.
        HostError: no connection, too many cuts in a row, or another host key.
    """
    if not destination.startswith("/") or "\0" in destination or ".." in destination.split("/"):
        raise InvalidRequest(
            f"{destination!r} is no absolute path without '..'",
            next_step="name a folder such as /workspace/run",
            effect=NOTHING_SENT,
        )
    files, skipped = await anyio.to_thread.run_sync(gather, source)
    _demand_within(files, limits)
    cargo = Cargo(files)
    unread = await anyio.to_thread.run_sync(_weigh, cargo, range(len(files)))
    line = Line(open_host, clock)
    sender = Sender(line, destination, cargo, clock, progress)
    async with aclosing(line):
        for left in reversed(range(ROUNDS)):
            await sender.run()
            stale = cargo.stale()
            if not stale:
                break
            if not left:
                raise _changed(files[stale[0]])
            unread += await anyio.to_thread.run_sync(_weigh, cargo, stale)
    return PushReceipt(
        files=cargo.count(),
        bytes=cargo.total(),
        bytes_sent=sender.sent,
        skipped=tuple(sorted([*skipped, *unread], key=lambda entry: entry.path)),
        destination=destination,
    )


def _demand_within(files: LocalFiles, limits: CopyLimits) -> None:
    total = files.total()
    depth = max((files.path(at).count("/") for at in range(len(files))), default=0)
    if len(files) > limits.max_files or total > limits.max_bytes or depth > limits.max_depth:
        raise LimitExceeded(
            f"{len(files):,} files with {show_bytes(total)}, {depth} folders deep, were to be sent; the policy allows "
            f"{limits.max_files:,} files with {show_bytes(limits.max_bytes)}, {limits.max_depth} deep",
            next_step="name a smaller folder, or let the machine fetch large data from a bucket",
            effect=NOTHING_SENT,
        )


def _weigh(cargo: Cargo, numbers: Iterable[int]) -> list[SkippedEntry]:
    """Hash files; those that cannot be read."""
    unread: list[SkippedEntry] = []
    for number in numbers:
        check_cancelled()
        try:
            cargo.weigh(number)
        except OSError as bad:
            file, reason = cargo.files[number], f"could not be read: {bad.strerror or bad}"
            unread.append(SkippedEntry(path=shown(file.path), size=file.size, reason=reason))
    return unread


def _changed(file: LocalFile) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(file.path)} arrived {ROUNDS} times as other bytes than were hashed here",
        next_step="let nothing write to it, then repeat the push: it goes on",
        effect="On the machine that file is as it was before; the others are there.",
    )
