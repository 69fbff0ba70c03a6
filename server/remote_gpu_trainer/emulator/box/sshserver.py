"""A box's SSH server on paramiko: keys only, root only; commands, terminals, SFTP, forwards to the box itself."""
# pyright: reportUnknownMemberType=false, reportIncompatibleMethodOverride=false, reportAttributeAccessIssue=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUntypedBaseClass=false
# paramiko carries no types.

import contextlib
import logging
import re
import socket
import threading
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

from remote_gpu_trainer.emulator.box.hostkeys import HostKeys, stranger_keys
from remote_gpu_trainer.emulator.box.running import Running
from remote_gpu_trainer.emulator.box.session import Session
from remote_gpu_trainer.emulator.box.sftp import BoxSftp
from remote_gpu_trainer.emulator.box.wire import WireSocket

WINDOW, PACKET = 64 << 20, 1 << 20
AUTH_MOST_S = 60.0
ENV_NAME = re.compile(r"(?!LD_|DYLD_|RGT_|PATH$)[A-Za-z_][A-Za-z0-9_]{0,63}")
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})

logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)  # dropped connections are what the box is for


class BoxTransport(paramiko.Transport):
    """A transport with windows for long lines, that starts a session only after its request was answered."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, default_window_size=WINDOW, default_max_packet_size=PACKET)
        self.granted: list[Session] = []
        self._held: list[Any] = []

    def _send_user_message(self, data: Any) -> None:
        super()._send_user_message(data)
        if self.granted and threading.current_thread() is self:
            for session in self.granted:
                session.go.set()
            self.granted.clear()

    def _queue_incoming_channel(self, channel: Any) -> None:
        """Hold every open channel: paramiko itself knows them by weak references only."""
        self._held = [*(each for each in self._held if not each.closed), channel]
        super()._queue_incoming_channel(channel)


class BoxServer(paramiko.ServerInterface):
    """What one client may do."""

    def __init__(self, running: Running, transport: BoxTransport, *, refuses: bool = False) -> None:
        self._running, self._transport, self._refuses = running, transport, refuses
        self._sessions: dict[int, Session] = {}
        self._forwards: dict[int, socket.socket] = {}

    def get_allowed_auths(self, username: str) -> str:
        """Keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        """Root, with a key that was put on the box."""
        known = f"{key.get_name()} {key.get_base64()}" in self._running.authorized
        refused = self._refuses or self._running.wire.faults.refuse_auth
        return AUTH_SUCCESSFUL if known and username == "root" and not refused else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Sessions, as many as wanted."""
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        """Forwards to the box itself are served; it is no way into other networks."""
        host, port = destination
        if host not in LOCAL:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            self._forwards[chanid] = self._running.dial(port)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        return OPEN_SUCCEEDED

    def forward(self, channel: Any) -> None:
        """Carry a forward that was granted, once its channel is there."""
        target = self._forwards.pop(channel.get_id(), None)
        if target is None:
            return
        target.settimeout(None)

        def pull() -> None:
            with contextlib.suppress(OSError, EOFError):
                while data := target.recv(PACKET):
                    channel.sendall(data)
            channel.close()

        def push() -> None:
            with contextlib.suppress(OSError):
                while data := channel.recv(PACKET):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            channel.status_event.wait()
            target.close()

        for work in (pull, push):
            threading.Thread(target=work, name="box-forward", daemon=True).start()

    def _session(self, channel: Any) -> Session:
        if channel.get_id() not in self._sessions:
            self._sessions = {number: each for number, each in self._sessions.items() if not each.over}
            self._sessions[channel.get_id()] = Session(channel, self._running)
        return self._sessions[channel.get_id()]

    def check_channel_env_request(self, channel: Any, name: Any, value: Any) -> bool:
        """Environment for the next command; not what would change how programs are loaded."""
        name, value = _text(name), _text(value)
        if not ENV_NAME.fullmatch(name) or "\0" in value:
            return False
        self._session(channel).env[name] = value
        return True

    def check_channel_pty_request(
        self, channel: Any, term: Any, width: int, height: int, pixelwidth: int, pixelheight: int, modes: Any
    ) -> bool:
        """A terminal for the next command."""
        session = self._session(channel)
        session.terminal = (height or 24, width or 80)
        session.env["TERM"] = _text(term).replace("\0", "") or "dumb"
        return True

    def check_channel_window_change_request(
        self, channel: Any, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        """The client's window has another size."""
        self._session(channel).resize(height, width)
        return True

    def check_channel_shell_request(self, channel: Any) -> bool:
        """A login shell."""
        return self._begin(channel, None)

    def check_channel_exec_request(self, channel: Any, command: Any) -> bool:
        """A command line for the shell."""
        text = _text(command)
        return "\0" not in text and self._begin(channel, text)

    def _begin(self, channel: Any, command: str | None) -> bool:
        session = self._session(channel)
        self._transport.granted.append(session)
        session.begin(command)
        return True


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else str(raw)


class ParamikoServer:
    """Serves connections to a box in this process."""

    def __init__(self, running: Running, keys: HostKeys) -> None:
        self._running = running
        self._own_keys = keys.private()

    def __call__(self, wired: WireSocket) -> None:
        """Serve one connection until it ends."""
        faults, transport = self._running.wire.faults, None
        try:
            transport = BoxTransport(wired)
            strange = faults.change_host_key or wired.suffers("changed-host-key")
            for key in stranger_keys(self._running.disk.host).private() if strange else self._own_keys:
                transport.add_server_key(key)
            server = BoxServer(self._running, transport, refuses=wired.suffers("refuse-auth"))
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, BoxSftp, self._running)
            transport.auth_timeout = AUTH_MOST_S
            transport.start_server(event=threading.Event(), server=server)
            while transport.is_active():
                channel = transport.accept(1.0)
                if channel is not None:
                    server.forward(channel)
        except (OSError, EOFError, paramiko.SSHException):
            pass  # a client that leaves in the middle is no news
        finally:
            if transport is not None:
                transport.close()
