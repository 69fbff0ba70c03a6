"""One SSH connection to the machine itself: public key in, ``rsync --server --daemon .`` out."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from remote_gpu_trainer.emulator.kaalia import Counted, Modules

USER = "vastai_kaalia"
CHUNK = 65_536
IDLE_S = 600.0
HANDSHAKE_S = 30.0
_key_lock = threading.Lock()


class Machine(paramiko.ServerInterface):
    """Lets the account's keys in as one user, and hears one command."""

    def __init__(self, keys: list[str]) -> None:
        self._blobs = {tuple(line.split()[:2]) for line in keys}
        self.command = b""
        self.wanted = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Only the account's keys, only as the machine's user."""
        known = username == USER and (key.get_name(), key.get_base64()) in self._blobs
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        """No passwords."""
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Sessions only."""
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Remember the command; it is judged when it runs."""
        self.command = command
        self.wanted.set()
        return True


def serve(client: socket.socket, host_key: Path, modules: Modules, counted: Counted) -> None:
    """Serve one client until it leaves."""
    transport = paramiko.Transport(client)
    try:
        transport.add_server_key(_host_key(host_key))
        machine = Machine(modules.keys)
        transport.start_server(server=machine)
        channel = transport.accept(HANDSHAKE_S)
        if channel is not None and machine.wanted.wait(HANDSHAKE_S):
            _run(channel, machine.command, modules, counted)
    except (paramiko.SSHException, EOFError, OSError):
        return  # a client that leaves in the middle is its own affair
    finally:
        transport.close()


def _host_key(path: Path) -> paramiko.PKey:
    with _key_lock:
        if not path.exists():
            paramiko.RSAKey.generate(2048).write_private_key_file(str(path))
        return paramiko.RSAKey.from_private_key_file(str(path))


def _run(channel: paramiko.Channel, command: bytes, modules: Modules, counted: Counted) -> None:
    program = shutil.which("rsync")
    if command.split()[:3] != [b"rsync", b"--server", b"--daemon"] or program is None:
        channel.sendall_stderr(b"This account is for rsync in daemon mode only.\n")
        channel.send_exit_status(1)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(_config(modules.roots))
        config.flush()
        daemon = subprocess.Popen(
            [program, "--server", "--daemon", f"--config={config.name}", "."],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        with daemon:
            _pump(channel, daemon, counted)
        channel.send_exit_status(daemon.returncode)


def _config(roots: dict[int, Path]) -> str:
    lines = ["use chroot = no", "numeric ids = yes", "munge symlinks = no", "read only = no"]
    for number, root in roots.items():
        for name in (str(number), f"C.{number}"):
            lines += [f"[{name}]", f"path = {root}"]
    return "\n".join(lines) + "\n"


def _pump(channel: paramiko.Channel, daemon: "subprocess.Popen[bytes]", counted: Counted) -> None:
    """Move bytes both ways until the daemon ends, and count them for the instance named first."""
    stdin, stdout = daemon.stdin, daemon.stdout
    if stdin is None or stdout is None:
        raise RuntimeError("rsync was started without pipes")
    named = Named()

    def inward() -> None:
        with contextlib.suppress(OSError):  # the daemon may end first
            while data := channel.recv(CHUNK):
                named.feed(data)
                stdin.write(data)
            stdin.close()

    channel.settimeout(IDLE_S)
    threading.Thread(target=inward, name="kaalia-in", daemon=True).start()
    sent = 0
    while data := stdout.read(CHUNK):
        channel.sendall(data)
        sent += len(data)
    daemon.wait(10)
    if named.number is not None:
        counted(named.number, sent, named.seen)


class Named:
    """Counts what comes in, and reads the module's name off it: rsync's client says it in its second line."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.seen = 0
        self._head = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.seen += len(data)
        if self.number is None and len(self._head) < 4096:
            self._head += data
            lines = self._head.split(b"\n")
            if len(lines) > 2:
                text = lines[1].strip().removeprefix(b"C.")
                self.number = int(text) if text.isdigit() else None
