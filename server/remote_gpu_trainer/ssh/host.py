"""One connection to one box: commands that end, streams of bytes, and files put there whole."""

import contextlib
import posixpath
import secrets
import shlex
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from remote_gpu_trainer.domain.instances import Endpoint
from remote_gpu_trainer.errors import ConnectionCut, InvalidRequest, RemoteCommandFailed, WaitExpired
from remote_gpu_trainer.ports import CommandResult
from remote_gpu_trainer.ssh.channel import ChannelReader, Drain, send_all
from remote_gpu_trainer.ssh.openssh import OpensshTarget, demand_ssh_success
from remote_gpu_trainer.ssh.output import STALL_S, Output
from remote_gpu_trainer.ssh.piped import PipedCommand
from remote_gpu_trainer.ssh.quoting import command_line

WINDOW = 16 << 20
"""Bytes that may be under way on a channel: at 100 ms of round trip 160 MB/s, and twice that over two connections.

All of it may lie in memory here, and in the far ``sshd``, whose work grows with it."""
NEAR_S = 0.008
"""Round trip in seconds below which the 2 MiB window of the system's ``ssh`` does not hold it back."""
MAX_PACKET = 256 << 10
OPEN_S = 30.0
PUT_S = 600.0


class ParamikoHost:
    """A RemoteHost over one paramiko transport; any number of channels may be used at once."""

    def __init__(self, endpoint: Endpoint, transport: Any, target: OpensshTarget | None, round_trip_s: float) -> None:
        self._endpoint, self._transport, self._target = endpoint, transport, target
        self.round_trip_s = round_trip_s
        """Seconds, at most: the shortest of what was seen since the connection began."""

    @property
    def endpoint(self) -> Endpoint:
        """Where this connection goes."""
        return self._endpoint

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float, max_output: int = 1 << 20
    ) -> CommandResult:
        """Run a command, each argument quoted, and wait for its end.

        Args:
            argv: The command.
            stdin: Its whole input.
            timeout_s: Seconds from opening the channel to the end of the command.
            max_output: Bytes that are kept of each output; the rest is read and dropped.

        Raises:
            WaitExpired: it did not end in time; the channel was closed, the command may go on there.
            ConnectionCut: the connection ended first.
            InvalidRequest: an argument cannot be sent.
        """
        line, opened = command_line(argv), _Opened()
        try:
            with anyio.move_on_after(timeout_s):
                return await anyio.to_thread.run_sync(
                    self._run_blocking, line, stdin, max_output, opened, abandon_on_cancel=True
                )
        finally:
            opened.close()
        raise WaitExpired(
            f"{argv[0]!r} did not end within {timeout_s:g} s",
            next_step="look at the machine's load and disk, then repeat with more time",
            effect="Its channel was closed; the command may still run on the machine.",
        )

    def _run_blocking(self, line: str, stdin: bytes, max_output: int, opened: "_Opened") -> CommandResult:
        channel = self._exec(line, opened)
        errors = Drain(channel.recv_stderr, max_output)
        sending = threading.Thread(target=send_all, args=(channel, [stdin]), name="ssh-stdin", daemon=True)
        sending.start()
        kept, dropped = bytearray(), False
        reader = ChannelReader(channel, self._where, 1 << 20)
        while (data := reader.read(STALL_S)) is None or data:
            if data is None:
                continue  # silence: the caller's time limit decides
            dropped = dropped or len(kept) + len(data) > max_output
            kept += data[: max_output - len(kept)]
        errors.wait()
        status: int = channel.recv_exit_status()
        self._demand_end(status, line)
        channel.close()
        return CommandResult(
            exit_status=status, stdout=bytes(kept), stderr=bytes(errors.kept), truncated=dropped or errors.dropped
        )

    def _exec(self, line: str, opened: "_Opened") -> Any:
        import paramiko

        try:
            asked = time.monotonic()
            channel: Any = self._transport.open_session(window_size=WINDOW, max_packet_size=MAX_PACKET, timeout=OPEN_S)
            self.round_trip_s = min(self.round_trip_s, time.monotonic() - asked)
            opened.hold(channel)
            channel.exec_command(line)
        except (OSError, EOFError, paramiko.SSHException) as bad:
            raise ConnectionCut(
                f"{self._where} takes no further command ({type(bad).__name__})", effect="The command was not run."
            ) from bad
        return channel

    def _demand_end(self, status: int, line: str) -> None:
        if status == -1 and not self._transport.is_active():
            raise ConnectionCut(f"the connection to {self._where} ended before {line[:40]!r} did")

    @property
    def _where(self) -> str:
        return f"{self._endpoint.host}:{self._endpoint.port}"

    def stream(
        self, argv: Sequence[str], *, stdin: bytes | Iterable[bytes] = b"", chunk: int = 1 << 20, bulk: bool = False
    ) -> AbstractAsyncContextManager[Output]:
        """Run a command and read its output as it comes, through a channel with a large window.

        Args:
            argv: The command.
            stdin: Its whole input, or pieces of it, which are drawn on a thread of its own and may wait.
            chunk: About how many bytes are handed over at once.
            bulk: Much output is expected. From a machine nearby the system's own ``ssh`` then carries it over a
                connection of its own, where one is installed: it decrypts several times faster than Python does.
                Its window of 2 MiB for each round trip is too small for a machine far away.

        Raises:
            RemoteCommandFailed: on leaving, when the command ended with another status than 0.
            ConnectionCut: the connection ended in the middle, or nothing came for 60 s.
            HostKeyChanged: the connection of its own met another key than the pinned one.
        """
        line, pieces = command_line(argv), [stdin] if isinstance(stdin, bytes) else stdin
        if bulk and self.round_trip_s < NEAR_S and self._target is not None and self._target.installed:
            return self._piped(self._target.command(argv), pieces, chunk)
        return self._stream(line, pieces, chunk)

    @asynccontextmanager
    async def _piped(self, command: list[str], stdin: Iterable[bytes], chunk: int) -> AsyncGenerator[Output]:
        running = await anyio.to_thread.run_sync(PipedCommand, command, stdin, chunk)
        try:
            output = Output(running, self._where)
            async with aclosing(output.pieces):
                yield output
            if running.ended:
                status, said = await anyio.to_thread.run_sync(running.end, abandon_on_cancel=True)
                demand_ssh_success(status, said, self._where)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(running.close)

    @asynccontextmanager
    async def _stream(self, line: str, stdin: Iterable[bytes], chunk: int) -> AsyncGenerator[Output]:
        opened = _Opened()
        try:
            channel = await anyio.to_thread.run_sync(self._exec, line, opened, abandon_on_cancel=True)
            errors = Drain(channel.recv_stderr, 1 << 14)
            threading.Thread(target=send_all, args=(channel, stdin), name="ssh-stdin", daemon=True).start()
            reader = ChannelReader(channel, self._where, chunk)
            output = Output(reader, self._where)
            async with aclosing(output.pieces):
                yield output
            if reader.ended:
                await anyio.to_thread.run_sync(self._demand_success, channel, errors, line, abandon_on_cancel=True)
        finally:
            opened.close()

    def _demand_success(self, channel: Any, errors: "Drain", line: str) -> None:
        errors.wait()
        status: int = channel.recv_exit_status()
        self._demand_end(status, line)
        if status:
            said = errors.kept[-400:].decode("utf-8", "replace")
            raise RemoteCommandFailed(
                f"{line.split()[0]!r} ended with status {status}",
                details={"exit_status": status, "stderr": "".join(c if c.isprintable() else " " for c in said)},
            )

    async def put(self, content: bytes | Path, remote_path: str, *, mode: int = 0o644) -> None:
        """Write one remote file atomically (temporary name, then rename); parents are made.

        Raises:
            RemoteCommandFailed: it could not be written; the file that was there is as it was.
            InvalidRequest: the path is not absolute.
        """
        if not remote_path.startswith("/") or "\0" in remote_path or remote_path.endswith("/"):
            raise InvalidRequest(f"{remote_path!r} is no absolute file path", effect="Nothing was written.")
        body = content if isinstance(content, bytes) else await anyio.Path(content).read_bytes()
        folder, final = shlex.quote(posixpath.dirname(remote_path)), shlex.quote(remote_path)
        draft = shlex.quote(f"{posixpath.dirname(remote_path)}/.rgt-{secrets.token_hex(8)}")
        script = (
            f"set -e; mkdir -p {folder}; trap 'rm -f {draft}' EXIT; umask 077; cat > {draft}; "
            f'[ "$(wc -c < {draft})" -eq {len(body)} ]; chmod {mode:o} {draft}; mv -f {draft} {final}'
        )
        done = await self.run(["sh", "-c", script], stdin=body, timeout_s=PUT_S, max_output=1 << 12)
        if done.exit_status:
            said = done.stderr[-300:].decode("utf-8", "replace")
            raise RemoteCommandFailed(
                f"{remote_path} could not be written (status {done.exit_status})",
                effect="What was there before is as it was.",
                details={"stderr": "".join(c if c.isprintable() else " " for c in said)},
            )

    async def close(self) -> None:
        """Close. Safe to repeat."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._transport.close)


class _Opened:
    """A channel that is closed at the end even when it is opened only after that."""

    def __init__(self) -> None:
        self._channel: Any = None
        self._over = False
        self._lock = threading.Lock()

    def hold(self, channel: Any) -> None:
        with self._lock:
            self._channel = channel
            if self._over:
                channel.close()

    def close(self) -> None:
        with self._lock:
            self._over = True
            if self._channel is not None:
                with contextlib.suppress(OSError, EOFError):
                    self._channel.close()
