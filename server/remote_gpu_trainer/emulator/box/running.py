"""A box that is up, as its SSH server sees it."""

import errno
import os
import socket
import threading
from dataclasses import dataclass, field

from remote_gpu_trainer.emulator.box.disk import Disk
from remote_gpu_trainer.emulator.box.isolation import SYSTEM_PATH, Walls, python_path
from remote_gpu_trainer.emulator.box.processes import Process, Processes
from remote_gpu_trainer.emulator.box.spec import BoxError, BoxSpec
from remote_gpu_trainer.emulator.box.wire import LOOPBACK, Wire

CONNECT_MOST_S = 5.0
SHELLS = ("/bin/bash", "/bin/sh")


@dataclass
class Running:
    """One run of a box: its processes, its disk, its line, and who may come in."""

    spec: BoxSpec
    disk: Disk
    walls: Walls
    wire: Wire
    processes: Processes
    authorized: frozenset[str] = frozenset()
    env: dict[str, str] = field(default_factory=dict[str, str])
    down: threading.Event = field(default_factory=threading.Event)

    def spawn_shell(
        self,
        command: str | None,
        env: dict[str, str],
        *,
        streams: tuple[int, int, int] | None = None,
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Run a command line, or a login shell, as ``root`` in its home. Raises BoxError when the box is going down."""
        argv = [shell(), "-l"] if command is None else [shell(), "-c", self.walls.command(command)]
        return self.processes.spawn(
            argv,
            {**self.env, **env},
            f"{self.walls.base}/root",
            streams=streams,
            terminal=terminal,
            file_size=self.disk.file_size_limit(),
        )

    def dial(self, port: int) -> socket.socket:
        """A connection to what listens inside on a port. Raises OSError."""
        if self.walls.own_network:
            try:
                return self.processes.dial(port)
            except BoxError as down:
                raise OSError(errno.ECONNREFUSED, str(down)) from None
        return socket.create_connection((LOOPBACK, port), CONNECT_MOST_S)

    def open_root(self) -> int:
        """A new descriptor of the box's ``/``, as its own processes see it where they have a mount namespace."""
        if self.walls.own_pids:
            return os.dup(self.processes.root_fd)
        return os.open(self.disk.root, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def linked(self) -> frozenset[str]:
        """Volumes that links stand for, where the box has no mount namespace."""
        return frozenset(str(folder) for folder, _ in self.disk.mounts) if self.walls.paths else frozenset[str]()


def shell() -> str:
    """The login shell of a box."""
    return next((path for path in SHELLS if os.path.exists(path)), SHELLS[-1])


def environment(spec: BoxSpec, walls: Walls, direct_port: int | None) -> dict[str, str]:
    """What every process of a box finds in its environment: the container's own, then what the platform sets."""
    env = {
        "PATH": f"{walls.lent}/bin:{python_path()}:{SYSTEM_PATH}",
        "HOME": f"{walls.base}/root",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": shell(),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "HOSTNAME": spec.hostname,
        "CONTAINER_ID": str(spec.instance_id),
        "DATA_DIRECTORY": f"{walls.base}/workspace/",
        **{name: walls.command(value) for name, value in spec.env.items()},
    }
    if "PATH" in spec.env:
        env["PATH"] = f"{walls.lent}/bin:{python_path()}:{env['PATH']}"
    if direct_port is not None:
        env["VAST_TCP_PORT_22"] = str(direct_port)
    if walls.own_pids and os.geteuid() != 0:
        env["TAR_OPTIONS"] = "--no-same-owner"  # its root is the only user of its name space, and owns all
    if walls.paths is not None:
        env["RGT_BOX_ROOT"] = walls.base
        env["RGT_BOX_KEEP"] = os.pathsep.join(walls.paths.keep)
        env["RGT_BOX_OWN"] = os.pathsep.join(walls.paths.own)
        env["TMPDIR"] = f"{walls.base}/tmp"  # noqa: S108  # the box's own
        env["TMUX_TMPDIR"] = env["TMPDIR"]  # or all plain boxes, and this computer's user, share one tmux server
        env["PYTHONPATH"] = ":".join(part for part in (f"{walls.lent}/site", spec.env.get("PYTHONPATH", "")) if part)
    return env
