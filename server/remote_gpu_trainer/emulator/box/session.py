"""One SSH session channel: a command, or a shell on a terminal, with its streams carried both ways."""
# pyright: reportUnknownMemberType=false
# paramiko carries no types.

import contextlib
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from paramiko import Message, SSHException
from paramiko.common import cMSG_CHANNEL_REQUEST

from remote_gpu_trainer.emulator.box.processes import Process
from remote_gpu_trainer.emulator.box.running import Running
from remote_gpu_trainer.emulator.box.spec import BoxError

CHUNK = 1 << 20
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031
DRAIN_S = 0.2
"""What a finished command still has in its pipes is sent before its exit status, for at most this long."""
REPLY_MOST_S = 1.0


class Session:
    """What a client asked for on one channel. ``go`` is set once the client was told that its request is granted."""

    def __init__(self, channel: Any, running: Running) -> None:
        self._channel, self._running = channel, running
        self.env: dict[str, str] = {}
        self.terminal: tuple[int, int] | None = None
        self.process: Process | None = None
        self.go = threading.Event()

    @property
    def over(self) -> bool:
        """Whether its channel is closed."""
        return bool(self._channel.closed)

    def begin(self, command: str | None) -> None:
        """Run a command, or a login shell, in the background."""
        threading.Thread(target=self._run, args=(command,), name="box-session", daemon=True).start()

    def resize(self, rows: int, cols: int) -> None:
        """The client's window has another size."""
        if self.terminal is not None and self.process is not None:
            self._running.processes.resize(self.process, rows, cols)

    def _run(self, command: str | None) -> None:
        self.go.wait(REPLY_MOST_S)
        with contextlib.suppress(OSError, EOFError, SSHException):  # the client is gone, and so is whom to tell
            try:
                pumps = self._on_terminal(command) if self.terminal else self._on_pipes(command)
            except BoxError as problem:
                self._channel.sendall_stderr(f"{problem}\n".encode())
                self._channel.send_exit_status(255)
            else:
                self._finish(pumps)
            self._channel.close()

    def _finish(self, pumps: list[threading.Thread]) -> None:
        process = self.process
        if process is None:
            return
        process.ended.wait()
        for pump in pumps:
            pump.join(DRAIN_S)
        if process.signal is None:
            self._channel.send_exit_status(process.status)
        else:
            self._say_signal(process.signal)
        for pump in pumps:  # a child left behind holds the streams open, as under sshd
            pump.join()

    def _say_signal(self, number: int) -> None:
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self._channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)
        message.add_string(signal.Signals(number).name.removeprefix("SIG"))
        message.add_boolean(False)
        message.add_string("")
        message.add_string("")
        self._channel.transport._send_user_message(message)

    def _on_pipes(self, command: str | None) -> list[threading.Thread]:
        (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = (os.pipe() for _ in range(3))
        for fd in (stdin, from_stdout):
            widen(fd)
        try:
            self.process = self._running.spawn_shell(command, self.env, streams=(stdin, stdout, stderr))
        except BoxError:
            for fd in (to_stdin, from_stdout, from_stderr):
                os.close(fd)
            raise
        finally:
            for fd in (stdin, stdout, stderr):
                os.close(fd)
        _thread(self._carry_in, to_stdin)
        return [
            _thread(self._carry_out, from_stdout, self._channel.sendall),
            _thread(self._carry_out, from_stderr, self._to_people(self._channel.sendall_stderr)),
        ]

    def _on_terminal(self, command: str | None) -> list[threading.Thread]:
        self.process = self._running.spawn_shell(command, self.env, terminal=self.terminal)
        master = self.process.master
        _thread(self._carry_in, os.dup(master))
        return [_thread(self._carry_out, master, self._to_people(self._channel.sendall))]

    def _to_people(self, send: Callable[[bytes], None]) -> Callable[[bytes], None]:
        return lambda data: send(self._running.walls.for_people(data))

    def _carry_in(self, fd: int) -> None:
        """Client to process, until the client has said all; then wait for the channel's end and hang up."""
        with contextlib.suppress(OSError):
            while data := self._channel.recv(CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        if self.terminal is None:
            os.close(fd)
        self._channel.status_event.wait()
        if self.terminal is not None:
            os.close(fd)
        if self.process is not None and not self.process.ended.is_set():
            self._running.processes.signal(self.process, signal.SIGHUP)

    def _carry_out(self, fd: int, send: Callable[[bytes], None]) -> None:
        """Process to client, until the process and its children have closed the stream, or the client is gone."""
        with contextlib.suppress(OSError, EOFError):  # a terminal's end is EIO; a closed channel is OSError
            while data := os.read(fd, CHUNK):
                send(data)
        os.close(fd)


def widen(pipe: int) -> None:
    """A pipe that takes much at a time, where the system lets us."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)


def _thread(work: Callable[..., None], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, name="box-stream", daemon=True)
    thread.start()
    return thread
