"""A box's SSH server on the system's own OpenSSH: one ``sshd -i`` for each connection, its commands inside the box."""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import threading
from pathlib import Path

from remote_gpu_trainer.emulator.box.hostkeys import KINDS, HostKeys, stranger_keys
from remote_gpu_trainer.emulator.box.isolation import Walls
from remote_gpu_trainer.emulator.box.lent import pid1
from remote_gpu_trainer.emulator.box.running import Running, shell
from remote_gpu_trainer.emulator.box.wire import WireSocket

CHUNK = 256 << 10
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
PRIVILEGE_FOLDER = Path("/run/sshd")
SETTINGS = """\
StrictModes no
PermitRootLogin prohibit-password
AllowUsers root
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AcceptEnv LANG LC_*
AllowTcpForwarding local
PermitOpen 127.0.0.1:* localhost:*
AllowAgentForwarding no
X11Forwarding no
PrintMotd no
PrintLastLog no
UseDNS no
PidFile none
LogLevel QUIET
MaxSessions 64
"""


def sshd() -> str | None:
    """Where the system's server is; it must be called by its full path."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/sbin")


def missing(walls: Walls) -> str:
    """What a box with a real ``sshd`` lacks here; empty when nothing."""
    if sshd() is None:
        return "sshd is not installed"
    if os.geteuid() != 0:
        return "sshd lets root in only when it runs as root"
    if not walls.own_pids or shutil.which("nsenter") is None:
        return "its commands are kept inside by name spaces and nsenter, and these are not in force"
    if not any(Path(path).exists() for path in SFTP_SERVERS):
        return "sftp-server is not installed"
    return ""


class OpensshServer:
    """Serves connections to a box with ``sshd``; bytes and faults pass through this process."""

    def __init__(self, running: Running, keys: HostKeys) -> None:
        self._running, self._keys = running, keys
        self._folder = running.disk.host / "sshd"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._sftp = next(path for path in SFTP_SERVERS if Path(path).exists())
        self._entered = False
        self._lock = threading.Lock()
        PRIVILEGE_FOLDER.mkdir(
            mode=0o755, parents=True, exist_ok=True
        )  # where a distribution's own start would make it

    def __call__(self, wired: WireSocket) -> None:
        """Serve one connection until it ends."""
        outer, inner = socket.socketpair()
        with outer:
            with inner:
                server = subprocess.Popen(
                    self._command(wired),
                    stdin=inner.fileno(),
                    stdout=inner.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env={"PATH": os.defpath},
                )
            pull = threading.Thread(target=_carry_out, args=(outer, wired), name="box-sshd", daemon=True)
            pull.start()
            with contextlib.suppress(OSError):
                while data := wired.recv(CHUNK):
                    outer.sendall(data)
            with contextlib.suppress(OSError):
                outer.shutdown(socket.SHUT_RDWR)
            pid1.kill_below(server.pid)
            server.kill()
            server.wait()
            pull.join()

    def _command(self, wired: WireSocket) -> list[str]:
        running, program = self._running, sshd() or "sshd"
        faults = running.wire.faults
        with self._lock:
            if not self._entered:
                self._write_enter()
            authorized = self._folder / "authorized_keys"
            authorized.write_text("".join(f"{key}\n" for key in sorted(running.authorized)))
            authorized.chmod(0o600)
        keys = self._keys
        if faults.change_host_key or wired.suffers("changed-host-key"):
            keys = stranger_keys(running.disk.host)
        known = "none" if faults.refuse_auth or wired.suffers("refuse-auth") else str(authorized)
        return [
            program, "-i", "-f", str(self._folder / "config"),
            *(word for kind in KINDS for word in ("-h", str(keys.path(kind)))),
            "-o", f"AuthorizedKeysFile={known}",
        ]  # fmt: skip

    def _write_enter(self) -> None:
        """Write the settings, and the command that every session is forced through: it enters the box."""
        running, enter = self._running, self._folder / "enter"
        spaces = f"nsenter --target {running.processes.first_pid} --mount --uts --ipc --pid"
        mark = dict([running.processes.mark.split("=", 1)])
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in {**running.env, **mark}.items())
        bash = shlex.quote(shell())
        enter.write_text(
            f"#!/bin/sh\n{exports}"
            f'if [ -z "$SSH_ORIGINAL_COMMAND" ]; then set -- {bash} -l\n'
            f'elif [ "$SSH_ORIGINAL_COMMAND" = {self._sftp} ]; then set -- {self._sftp}\n'
            f'else set -- {bash} -c "$SSH_ORIGINAL_COMMAND"; fi\n'
            "unset SSH_ORIGINAL_COMMAND\n"
            f'exec {spaces} -- /bin/sh -c \'cd /root && trap "" XFSZ && exec "$@"\' enter "$@"\n'
        )
        enter.chmod(0o700)
        forced = f"ForceCommand {shlex.quote(str(enter))}\nSubsystem sftp {self._sftp}\n"
        (self._folder / "config").write_text(SETTINGS + forced)
        self._entered = True


def _carry_out(source: socket.socket, wired: WireSocket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            view = memoryview(data)
            while view:
                view = view[wired.send(view) :]
    wired.close()
