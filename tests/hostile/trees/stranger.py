"""A machine that cannot be trusted: a real SSH server whose commands really run, and whose answers may be bent."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false, reportUntypedBaseClass=false
# paramiko carries no types.

import contextlib
import itertools
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED

Bend = Callable[[bytes], Iterable[bytes]]
"""What is sent in place of a command's honest output, piece by piece."""
COMMAND_S = 30.0
GONE = (OSError, EOFError, paramiko.SSHException)
"""Ways in which paramiko says that the other side hung up."""
QUESTION, TRAILER = b'["--root"', b'"truncated"'
ENVIRONMENT = {"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)  # cut connections are what this server is for


@dataclass
class Manners:
    """How the machine behaves. Lists are what ``scripts/manifest.py`` prints; all else sends files."""

    bend_list: Bend | None = None
    bend_sent: Bend | None = None
    after_list: Callable[[int], object] = lambda number: None
    """Called with the number of the list, from 1, before it is sent."""
    status: int | None = None
    """Exit status of what sends files, in place of the true one."""
    complaint: bytes = b""
    """Sent on standard error first."""
    cut: bool = False
    """Whether the connection ends where the bytes of files end."""
    change_host_key: bool = False
    lists: int = field(default=0, init=False)


class Stranger:
    """Listens on loopback until it is closed; manners may be changed between copies."""

    def __init__(self) -> None:
        self.manners = Manners()
        self._keys = [paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._transports: list[Any] = []
        threading.Thread(target=self._accept, name="stranger", daemon=True).start()

    @property
    def direct_port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Hang up on everybody."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                transport: Any = paramiko.Transport(client, default_window_size=8 << 20)
                transport.add_server_key(self._keys[self.manners.change_host_key])
                self._transports.append(transport)
                with contextlib.suppress(*GONE):
                    transport.start_server(event=threading.Event(), server=_Door(self, transport))

    def serve(self, transport: Any, channel: Any, command: str) -> None:
        """Run one command for a client, and answer as the manners say."""
        with contextlib.suppress(*GONE):  # the client has heard enough
            (self._list if command.endswith("--more") else self._send)(transport, channel, command)

    def _list(self, transport: Any, channel: Any, command: str) -> None:
        """What waits for questions; a bent answer that is no whole list is its last."""
        asked: SimpleQueue[bytes | None] = SimpleQueue()
        with subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
        ) as process:
            hearing = threading.Thread(target=_hear, args=(channel, process, asked), name="stranger-hears", daemon=True)
            hearing.start()
            try:
                while (question := asked.get()) is not None:
                    answer = b"".join(itertools.islice(_lists(process), question.count(b'"--root"')))
                    pieces: Iterable[bytes] = [answer]
                    if b'"/workspace"' not in question:  # what is left behind is asked for as well
                        self.manners.lists += 1
                        with contextlib.suppress(FileNotFoundError):  # a client that gave up: its tree is gone
                            self.manners.after_list(self.manners.lists)
                        pieces = self.manners.bend_list(answer) if self.manners.bend_list else pieces
                    last = b""
                    for last in pieces:
                        channel.sendall(last)
                    if not last.endswith(b"\n") or TRAILER not in last[:-1].rpartition(b"\n")[2]:
                        break
            finally:
                process.kill()
                channel.send_exit_status(0)
                channel.close()
                hearing.join(COMMAND_S)

    def _send(self, transport: Any, channel: Any, command: str) -> None:
        manners, sending = self.manners, " -c " in command
        stdin = b"".join(iter(lambda: channel.recv(1 << 20), b""))
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=stdin,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
            env=ENVIRONMENT,
        )
        status, bend = done.returncode, None
        if sending:
            bend, status = manners.bend_sent, status if manners.status is None else manners.status
        channel.sendall_stderr(manners.complaint + done.stderr)
        for piece in bend(done.stdout) if bend else [done.stdout]:
            channel.sendall(piece)
        if manners.cut and sending:
            transport.close()
        channel.send_exit_status(status)
        channel.close()


def _hear(channel: Any, process: "subprocess.Popen[bytes]", asked: "SimpleQueue[bytes | None]") -> None:
    """Pass on what the client says, and note its questions; an end is one too."""
    assert process.stdin
    line = b""
    with contextlib.suppress(*GONE), process.stdin:
        for data in iter(lambda: channel.recv(1 << 20), b""):
            process.stdin.write(data)
            process.stdin.flush()
            *lines, line = (line + data).split(b"\n")
            for each in lines:
                if each.startswith(QUESTION):
                    asked.put(each)
    asked.put(None)


def _lists(process: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    """The output, list by list."""
    assert process.stdout
    held: list[bytes] = []
    for line in process.stdout:
        held.append(line)
        if TRAILER in line:
            yield b"".join(held)
            held.clear()
    yield b"".join(held)


class _Door(paramiko.ServerInterface):
    """Lets anybody in, to run commands."""

    def __init__(self, stranger: Stranger, transport: Any) -> None:
        self._stranger, self._transport = stranger, transport
        self._held: list[Any] = []

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        self._held.append(channel)  # paramiko itself knows it by a weak reference only
        serving = (self._transport, channel, command.decode())
        threading.Thread(target=self._stranger.serve, args=serving, name="stranger-command", daemon=True).start()
        return True
