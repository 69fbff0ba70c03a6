"""The last way to the disk of a machine that does not run: the platform's rsync, believed no more than any stranger.

It fetches only files that its own list named and that our rules let pass, into a folder for unfinished files; they are
compared with the far side by rsync's checksums, hashed here, and only then get their names.
"""

import os
import re
import shlex
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import anyio.abc

from remote_gpu_trainer.domain.artifacts import EntryKind, Manifest, ManifestEntry, SkippedEntry
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.errors import (
    ConnectionCut,
    HostKeyChanged,
    InvalidRequest,
    LimitExceeded,
    RemoteCommandFailed,
    RgtError,
    RouteRefused,
)
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.paths import shown, unsafe_reason

LEAST = (3, 5, 0)
LEAST_PROTOCOL = 32
"""The far side tells only its protocol before it is trusted with anything: 32 came with 3.4.0."""
SERVER = "rsync --server --daemon ."
GREETING = re.compile(rb"@RSYNCD: (\d+)\.\d+")
HELLO_S = 60.0
VERSION_S = 15.0
LIST_S = 600.0
GRACE_S = 3.0
"""For an rsync that was told to end, to keep what it has of a file."""
MOST_LINE = 16 << 10
MOST_DIGITS = 18
MOST_SECONDS = (1 << 62) // 10**9
"""From 1970 on: nanoseconds of 62 bits, as over SSH."""
NOTHING = "Nothing was copied, and the machine is as it was."
NEXT = "call resume_run to get at the disk by SSH; the rescue of a stopped disk is reported to fail at times"
_ROW = re.compile(r"([-a-zA-Z])\S{9}\s+(\d+) (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (.*)", re.DOTALL)
_KINDS = {"-": EntryKind.FILE, "d": EntryKind.DIRECTORY, "l": EntryKind.SYMLINK, "p": EntryKind.FIFO,
          "s": EntryKind.SOCKET}  # fmt: skip
_ENV = {"LC_ALL": "C", "TZ": "UTC"}
_SSH_FAILED = 255
_CUT = frozenset({10, 12, 30, 35})
"""rsync's exit values for a connection that broke, or from which nothing came."""
PARTLY = frozenset({0, 23, 24})
CHECKSUM = "md5"
"""Known to every rsync, and named so that the evidence can say what it is; the machine's word all the same."""


@dataclass(frozen=True)
class Door:
    """Where the machine's rsync answers, and the local ``ssh`` command, without the host, that may go there."""

    ssh: tuple[str, ...]
    user: str
    host: str
    module: str

    def at(self, path: str) -> str:
        """rsync's name for a path of the disk."""
        return f"{self.user}@{self.host}::{self.module}/{path.lstrip('/')}"

    def command(self, *words: str) -> list[str]:
        """An rsync that goes through this door."""
        return ["rsync", "--8-bit-output", "--no-human-readable", "--timeout=60", "-e", shlex.join(self.ssh), *words]


@dataclass(frozen=True)
class Versions:
    """What was seen of both sides' rsync."""

    words: str
    told: bool
    """Whether the machine named its version; otherwise its caller must have been told so, and have accepted it."""


async def demand_versions(door: Door) -> Versions:
    """See that neither side's rsync is known to be an old one.

    What guards this computer is its own rsync, whose version is known. A daemon's greeting tells no more than the
    protocol, and a machine that serves nothing but its daemon does not tell its version at all.

    Raises:
        RouteRefused: one is, or its version cannot be seen.
        HostKeyChanged: the machine's own SSH shows another key than before.
        ConnectionCut: the machine cannot be reached.
    """
    ours = await _local_version()
    here = ".".join(map(str, ours))
    if ours < LEAST:
        raise RouteRefused(
            f"rsync on this computer is {here}, and older than 3.5.0 it is not used against a stranger's machine",
            next_step="install rsync 3.5.0 or newer, or call resume_run and copy by SSH",
            effect=NOTHING,
        )
    hello = f"@RSYNCD: {LEAST_PROTOCOL}.0 sha512 sha256 sha1 md5 md4\n".encode()
    status, out, said = await run([*door.ssh, "-l", door.user, "--", door.host, SERVER], hello, HELLO_S)
    greeting = GREETING.match(out)
    if greeting is None:
        _demand_ssh(status, said, door)
        raise RouteRefused("the machine's rsync does not say what it is", next_step=NEXT, effect=NOTHING)
    if int(greeting[1]) < LEAST_PROTOCOL:
        raise RouteRefused(
            f"rsync on the machine speaks protocol {int(greeting[1])}, which is older than "
            f"3.4.0, and 3.5.0 is asked for (here: {here})",
            next_step=NEXT,
            effect=NOTHING,
        )
    there = await _version([*door.ssh, "-l", door.user, "--", door.host, "rsync --version"], VERSION_S)
    if there is not None and there < LEAST:
        raise RouteRefused(
            f"rsync on the machine is {'.'.join(map(str, there))}, and 3.5.0 is asked for (here: {here})",
            next_step=NEXT,
            effect=NOTHING,
        )
    said = f"rsync {here} here; protocol {int(greeting[1])} there"
    if there is None:
        return Versions(f"{said}, which came with 3.4.0; the machine does not tell its version", told=False)
    return Versions(f"{said}, {'.'.join(map(str, there))} by its own word", told=True)


async def list_roots(
    door: Door, roots: Sequence[str], limits: CopyLimits
) -> tuple[list[Manifest], list[tuple[int, SkippedEntry]]]:
    """What the machine says lies under each root, with times in whole seconds.

    Raises:
        InvalidRequest: a root cannot be listed.
        LimitExceeded: there is more than the limits allow.
        RemoteCommandFailed: the machine does not serve this disk.
        ConnectionCut: the connection ended.
    """
    manifests: list[Manifest] = []
    skipped: list[tuple[int, SkippedEntry]] = []
    for number, root in enumerate(roots):
        words = door.command("--recursive", "--list-only", door.at(f"{root}/"))
        status, out, said = await run(words, b"", LIST_S, most=limits.max_entries * 256)
        demand_transfer(status, said, door)
        if status:
            raise InvalidRequest(
                f"{root} cannot be listed on the machine's disk: {shown(said[-200:])}",
                next_step="check the path; results are where the job was told to write them",
                effect=NOTHING,
            )
        lines = out.split(b"\n")
        if len(lines) > limits.max_entries:
            raise LimitExceeded(
                f"the machine lists more than {limits.max_entries:,} entries",
                next_step="name narrower paths",
                effect=NOTHING,
            )
        entries: list[ManifestEntry] = []
        for line in lines:
            found = _entry(line, limits.max_depth)
            if isinstance(found, ManifestEntry):
                entries.append(found)
            elif found is not None:
                skipped.append((number, found))
        manifests.append(Manifest(root=root, entries=tuple(sorted(entries, key=lambda entry: entry.path))))
    return manifests, skipped


def _entry(line: bytes, max_depth: int) -> ManifestEntry | SkippedEntry | None:
    try:
        row = _ROW.fullmatch(line.decode("utf-8"))
    except UnicodeDecodeError:
        return SkippedEntry(path=shown(line[46:].decode("utf-8", "replace")), size=0, reason="its name is not UTF-8")
    if row is None or len(line) > MOST_LINE or row[4] == ".":
        return None
    kind = _KINDS.get(row[1], EntryKind.DEVICE)
    path = row[4].partition(" -> ")[0] if kind is EntryKind.SYMLINK else row[4]
    if len(row[2]) > MOST_DIGITS:
        return SkippedEntry(path=shown(path), size=0, reason="a size that no file has")
    if reason := unsafe_reason(path, max_depth=max_depth):
        return SkippedEntry(path=shown(path), size=int(row[2]), reason=f"unsafe name: {reason}")
    try:
        seconds = int(datetime.strptime(row[3], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC).timestamp())
    except ValueError:
        seconds = MOST_SECONDS + 1
    if abs(seconds) > MOST_SECONDS:
        return SkippedEntry(path=shown(path), size=int(row[2]), reason="a time that no file here can have")
    return ManifestEntry(path=path, kind=kind, size=int(row[2]), mtime_ns=seconds * 10**9)


async def same(door: Door, folder: str, paths: Sequence[str], here: str) -> set[str]:
    """Those of the files below a folder there whose bytes are the same below ``here``, by md5 of the whole file.

    A file of which rsync says nothing is not among them.

    Raises:
        ConnectionCut, RemoteCommandFailed: it could not be compared.
    """
    words = ("--dry-run", "--checksum", f"--checksum-choice={CHECKSUM}", "-ii", "--out-format=%i %n", *SELECTED)
    status, out, said = await run(door.command(*words, door.at(f"{folder}/"), f"{here}/"), listed(paths), LIST_S * 6)
    demand_transfer(status, said, door)
    rows = (line.partition(" ") for line in _unpadded(out.decode("utf-8", "replace")))
    return {path for how, _, path in rows if how.startswith(".f")} & set(paths)


def _unpadded(text: str) -> list[str]:
    """Rows of eleven flags, of which rsync shows a file without any change with blanks."""
    return [f"{row[:11].rstrip()} {row[12:]}" for row in text.split("\n")]


SELECTED = ("--files-from=-", "--from0", "--times", "--no-links", "--no-devices", "--no-specials", "--no-implied-dirs")
"""Regular files of our own list, and nothing that the far side adds."""


def listed(wanted: Iterable[str]) -> bytes:
    """The list for ``--files-from``."""
    return b"\0".join(os.fsencode(path) for path in wanted)


def demand_transfer(status: int, said: str, door: Door) -> None:
    """Read rsync's exit value; that some files failed is no error here.

    Raises:
        ConnectionCut, HostKeyChanged, RemoteCommandFailed: as its value and its words say.
    """
    if status in PARTLY:
        return
    if "Unknown module" in said:
        raise RemoteCommandFailed(
            "the machine's rsync does not serve this instance's disk (Unknown module)", next_step=NEXT, effect=NOTHING
        )
    _demand_ssh(status, said, door)
    raise RemoteCommandFailed(f"rsync ended with {status}: {shown(said[-200:])}", next_step=NEXT, effect=NOTHING)


def _demand_ssh(status: int, said: str, door: Door) -> None:
    if "Host key verification failed" in said:
        raise HostKeyChanged(
            f"the machine at {door.host} shows another SSH host key than at first contact", effect="Nothing was sent."
        )
    if status == _SSH_FAILED or status in _CUT:
        raise ConnectionCut(f"the machine's rsync at {door.host} ended the connection", details={"stderr": shown(said)})


async def _local_version() -> tuple[int, int, int]:
    try:
        seen = await _version(["rsync", "--version"], HELLO_S)
    except OSError as bad:
        raise RouteRefused(
            "rsync is not installed on this computer, and only it reaches the disk of a machine that does not run",
            next_step="install rsync 3.5.0 or newer, or call resume_run and copy by SSH",
            effect=NOTHING,
        ) from bad
    if seen is None:
        raise RouteRefused("rsync on this computer does not say its version", effect=NOTHING)
    return seen


async def _version(words: Sequence[str], timeout_s: float) -> tuple[int, int, int] | None:
    """What a command says that its rsync is; None when it does not answer with a version."""
    try:
        _, out, _ = await run(words, b"", timeout_s, most=MOST_LINE)
    except (ConnectionCut, LimitExceeded):
        return None
    seen = re.search(rb"rsync +version v?(\d+)\.(\d+)\.(\d+)", out)
    return None if seen is None else (int(seen[1]), int(seen[2]), int(seen[3]))


async def run(
    words: Sequence[str],
    stdin: bytes,
    timeout_s: float,
    *,
    most: int = 1 << 28,
    told: Callable[[bytes], None] | None = None,
) -> tuple[int, bytes, str]:
    """Run to the end. Both outputs are read side by side; a cancel, an error or the time limit ends the process.

    Raises:
        OSError: the program is not there.
        ConnectionCut: it did not end in time.
        LimitExceeded: it says more than ``most`` bytes.
    """
    kept, errors = bytearray(), bytearray()
    failed: RgtError | None = None
    process = await anyio.open_process(words, env={**os.environ, **_ENV}, start_new_session=True)
    assert process.stdin and process.stdout and process.stderr  # noqa: S101  # all are pipes

    async def hear() -> None:
        async for data in process.stderr or ():
            errors.extend(data[: max(0, MOST_LINE - len(errors))])

    async def tell() -> None:
        try:
            await process.stdin.send(stdin) if process.stdin and stdin else None
        except (BrokenPipeError, anyio.BrokenResourceError):
            pass  # its exit value says why it stopped listening
        finally:
            await process.stdin.aclose() if process.stdin else None

    try:
        with anyio.fail_after(timeout_s):
            async with anyio.create_task_group() as group:
                group.start_soon(hear)
                group.start_soon(tell)
                async for data in process.stdout:
                    kept.extend(data)
                    failed = _refusal(told, data)
                    if failed is not None or len(kept) > most:
                        process.kill()
                        break
            status = await process.wait()
    except TimeoutError as late:
        raise ConnectionCut(f"{words[0]} did not end within {timeout_s:g} s") from late
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    if failed is not None:
        raise failed
    if len(kept) > most:
        raise LimitExceeded(f"the machine's list is longer than {show_bytes(most)}", effect=NOTHING)
    return status, bytes(kept), errors.decode("utf-8", "replace")


async def _end(process: anyio.abc.Process) -> None:
    """Leave nothing of it running: rsync is several processes and an ssh, all of one group."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)  # at which rsync keeps a half file for the next call
        with anyio.move_on_after(GRACE_S):
            await process.wait()
    _signal(process, signal.SIGKILL)
    await process.aclose()
    with anyio.move_on_after(GRACE_S):  # its ssh is nobody's child any more, and may take a moment to go
        while _signal(process, 0):  # noqa: ASYNC110  # a group of processes has no event to wait for
            await anyio.sleep(0.005)


def _signal(process: anyio.abc.Process, number: int) -> bool:
    """Send it to all of the group; whether there was any left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _refusal(told: Callable[[bytes], None] | None, data: bytes) -> RgtError | None:
    """What a listener has against the output; a task group would wrap it if it were raised there."""
    try:
        if told is not None:
            told(data)
    except RgtError as bad:
        return bad
    return None
