"""The machine-level rsync that ``vastai copy`` uses: SSH as ``vastai_kaalia``, and one rsync module for each instance.

The client runs ``rsync -e "ssh -p PORT" vastai_kaalia@HOST::INSTANCE/PATH`` (vastai 1.9.1), which asks the machine for
``rsync --server --daemon .`` over SSH. It reads and writes the disk whether the instance runs or not.
"""
# pyright: reportUnknownMemberType=false, reportIncompatibleMethodOverride=false, reportAttributeAccessIssue=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUntypedBaseClass=false
# paramiko carries no types.

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from remote_gpu_trainer.emulator.box.hostkeys import HostKeys
from remote_gpu_trainer.emulator.box.spec import BoxError
from remote_gpu_trainer.emulator.box.sshserver import AUTH_MOST_S, BoxTransport
from remote_gpu_trainer.emulator.box.wire import Connections, Listener, Wire, WireSocket

USER = "vastai_kaalia"
ASKED = ["rsync", "--server", "--daemon", "."]
CHUNK = 256 << 10
Disks = Callable[[], Mapping[int, Path]]
Keys = Callable[[], Iterable[str]]
Moved = Callable[[int, int, int], None]


class MachineRsync:
    """One machine's rsync endpoint on loopback.

    ``disks`` gives the root folder of every instance that has one now, ``keys`` the public keys that may come in, and
    ``moved`` is told (instance, bytes out, bytes in) at the end of each transfer, on a thread of its own.
    """

    def __init__(self, folder: Path, disks: Disks, keys: Keys, moved: Moved | None = None) -> None:
        self._folder, self._disks, self._keys, self._moved = folder, disks, keys, moved
        self._wire = Wire()
        self._listener: Listener | None = None
        self._connections: Connections | None = None
        self._host_keys = HostKeys(folder / "keys")
        self._transfers: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int | None:
        """Where it answers; None while it does not."""
        return self._listener.port if self._listener else None

    async def start(self) -> None:
        """Listen. Raises BoxError where rsync is not installed."""
        if shutil.which("rsync") is None:
            raise BoxError("rsync is not installed here: the machine-level copy is not served")
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._host_keys.ensure(self._folder / "nowhere")
        self._wire = Wire()
        served = self._connections = Connections(self._wire, self._serve)
        self._listener = Listener(lambda client: served.take(client, "machine"), "machine-rsync")

    async def stop(self) -> None:
        """Stop listening, and break what is under way."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._wire.down.set()
        if self._listener:
            self._listener.close()
        if self._connections:
            self._connections.cut()
        self._listener = self._connections = None
        with self._lock:
            for transfer in self._transfers:
                transfer.kill()

    def _serve(self, wired: WireSocket) -> None:
        transport = BoxTransport(wired)
        try:
            for key in self._host_keys.private():
                transport.add_server_key(key)
            transport.auth_timeout = AUTH_MOST_S
            server = _Server(frozenset(" ".join(key.split()[:2]) for key in self._keys()), self._transfer)
            transport.start_server(event=threading.Event(), server=server)
            while transport.is_active():
                transport.accept(1.0)
        except (OSError, EOFError, paramiko.SSHException):
            pass  # a client that leaves in the middle is no news
        finally:
            transport.close()

    def _settings(self) -> str:
        """A module for each disk, by both names that the client uses for an instance."""
        lines = ["use chroot = " + ("yes" if os.geteuid() == 0 else "no"), "munge symlinks = no", "read only = no"]
        lines += ["uid = 0", "gid = 0"] if os.geteuid() == 0 else []
        for number, root in self._disks().items():
            if root.is_dir():
                lines += [f"[{number}]", f"path = {root}", f"[C.{number}]", f"path = {root}"]
        return "\n".join(lines) + "\n"

    def _transfer(self, channel: Any) -> None:
        settings = self._folder / f"rsyncd-{threading.get_ident()}.conf"
        settings.write_text(self._settings())
        transfer = subprocess.Popen(
            [*ASKED[:-1], f"--config={settings}", "--log-file=/dev/null", "."],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with self._lock:
            self._transfers.add(transfer)
        sent, heard = _Count(), _Count()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), transfer:
            assert transfer.stdin and transfer.stdout  # noqa: S101  # both are pipes
            hearing = threading.Thread(target=_pour_in, args=(channel, transfer.stdin, heard), daemon=True)
            hearing.start()
            _pour_out(transfer.stdout, channel, sent)
            status = transfer.wait()
            channel.send_exit_status(status if status >= 0 else 128 - status)  # as a shell says it of a killed one
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.close()
        transfer.kill()
        transfer.wait()
        settings.unlink(missing_ok=True)
        with self._lock:
            self._transfers.discard(transfer)
        if self._moved is not None and (number := heard.instance()) is not None:
            self._moved(number, sent.bytes, heard.bytes)


class _Count:
    """Bytes of one direction, and the first of them: the client names its module in its second line."""

    def __init__(self) -> None:
        self.bytes, self.head = 0, b""

    def add(self, data: bytes) -> None:
        """Count a chunk."""
        self.bytes += len(data)
        if len(self.head) < 512:
            self.head += data[:512]

    def instance(self) -> int | None:
        """The instance whose module was asked for."""
        lines = self.head.split(b"\n")
        name = lines[1].decode(errors="replace").removeprefix("C.") if len(lines) > 2 else ""
        return int(name) if name.isdecimal() else None


def _pour_in(channel: Any, pipe: IO[bytes], count: _Count) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := channel.recv(CHUNK):
            count.add(data)
            pipe.write(data)
            pipe.flush()
    with contextlib.suppress(OSError):
        pipe.close()


def _pour_out(pipe: IO[bytes], channel: Any, count: _Count) -> None:
    while data := os.read(pipe.fileno(), CHUNK):
        count.add(data)
        channel.sendall(data)


class _Server(paramiko.ServerInterface):
    """Lets known keys ask for one thing: rsync's daemon on this connection."""

    def __init__(self, known: frozenset[str], transfer: Callable[[Any], None]) -> None:
        self._known, self._transfer = known, transfer

    def get_allowed_auths(self, username: str) -> str:
        """Keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        """The platform's own user, with a key of the account."""
        known = f"{key.get_name()} {key.get_base64()}" in self._known
        return AUTH_SUCCESSFUL if known and username == USER else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Sessions only."""
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        """Nothing but what rsync itself asks for."""
        try:
            words = shlex.split(command.decode())
        except ValueError:
            return False
        if words != ASKED:
            return False
        threading.Thread(target=self._transfer, args=(channel,), name="machine-transfer", daemon=True).start()
        return True
