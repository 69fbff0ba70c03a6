"""A rented machine: a real SSH server over a real folder with real processes."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from remote_gpu_trainer.emulator.box import isolation, lend, openssh
from remote_gpu_trainer.emulator.box.disk import Disk
from remote_gpu_trainer.emulator.box.hostkeys import HostKeys
from remote_gpu_trainer.emulator.box.logs import Log
from remote_gpu_trainer.emulator.box.processes import Process, Processes
from remote_gpu_trainer.emulator.box.running import Running, environment, shell
from remote_gpu_trainer.emulator.box.spec import BoxError, BoxFaults, BoxSpec
from remote_gpu_trainer.emulator.box.sshserver import ParamikoServer
from remote_gpu_trainer.emulator.box.wire import Connections, Listener, Proxy, Wire, WireSocket
from remote_gpu_trainer.emulator.linefaults import LineFaults

WATCH_S = 1.0


class Box:
    """One rented machine. Everything on its disk survives :meth:`stop`; nothing survives :meth:`destroy`."""

    def __init__(self, spec: BoxSpec) -> None:
        self.spec = spec
        self.faults = BoxFaults()
        self.line_faults = LineFaults()
        self._wire = Wire(self.faults, line_faults=self.line_faults)
        self._disk = Disk(spec)
        self._keys = HostKeys(self._disk.host / "keys")
        self._container_log = Log(self._disk.host / "container.log")
        self._daemon_log = Log(self._disk.host / "daemon.log")
        self._running: Running | None = None
        self._connections: Connections | None = None
        self._listeners: dict[str, Listener] = {}
        self._isolation = ""
        self._change = threading.Lock()

    async def start(self, direct: bool, authorized_keys: list[str]) -> None:
        """Boot: make what is missing of the disk, answer SSH, and run ``onstart`` in the background.

        ``direct`` opens the direct port beside the proxy's. Raises BoxError when it runs already or cannot boot.
        """
        await asyncio.to_thread(self._start_alone, direct, authorized_keys)

    def _start_alone(self, direct: bool, authorized_keys: list[str]) -> None:
        with self._change:
            self._start(direct, authorized_keys)

    def _start(self, direct: bool, authorized_keys: list[str]) -> None:
        if self._running is not None:
            raise BoxError(f"box {self.spec.instance_id} runs already")
        self._disk.create()
        self._keys.ensure(self._disk.root)
        self._disk.write_onstart(self.spec.onstart)
        walls = isolation.choose(self.spec.isolation, self._disk, self.spec.hostname, self.spec.network)
        self._isolation = walls.text
        if walls.paths is not None:
            self._disk.link_mounts()
        lend.lend(self._disk.lent, self.spec, walls, self._disk.used_bytes())
        wire = self._wire = Wire(self.faults, self._wire.sent, self._wire.received, self.line_faults)
        running = Running(self.spec, self._disk, walls, wire, Processes(walls))
        try:
            self._running = running
            self.set_authorized_keys(authorized_keys)
            self._listen(running, direct)
            self._run_onstart(running)
        except BaseException:  # whatever it was, an interrupt too: no process may stay behind of a box that is not up
            self._stop()
            raise
        threading.Thread(target=self._watch, args=(running,), name="box-disk", daemon=True).start()

    def _listen(self, running: Running, direct: bool) -> None:
        served = Connections(running.wire, self._server_for(running))
        self._connections = served
        if direct:
            self._listeners["direct"] = Listener(lambda client: served.take(client, "direct"), "box-direct")
        self._listeners["proxy"] = Listener(lambda client: served.take(Proxy(client).inner, "proxy"), "box-proxy")
        running.env = environment(self.spec, running.walls, self.direct_port)

    def _server_for(self, running: Running) -> Callable[[WireSocket], None]:
        if self.spec.ssh == "paramiko":
            return ParamikoServer(running, self._keys)
        if running.walls.own_network:
            raise BoxError("sshd stands outside the box's own network. The box was not started; paramiko works.")
        if missing := openssh.missing(running.walls):
            raise BoxError(f"no OpenSSH server here: {missing}. The box was not started; the flavour paramiko works.")
        return openssh.OpensshServer(running, self._keys)

    def _run_onstart(self, running: Running) -> None:
        nothing, (output, inside) = os.open(os.devnull, os.O_RDONLY), os.pipe()
        try:
            process = running.processes.spawn(
                [f"{running.walls.lent}/bin/bash" if running.walls.paths else shell(), "/root/onstart.sh"],
                running.env,
                f"{running.walls.base}/root",
                streams=(nothing, inside, inside),
                file_size=self._disk.file_size_limit(),
            )
        except BoxError:
            os.close(output)
            raise
        finally:
            os.close(nothing)
            os.close(inside)
        threading.Thread(
            target=self._log_onstart, args=(running, process, output), name="box-onstart", daemon=True
        ).start()

    def _log_onstart(self, running: Running, process: Process, output: int) -> None:
        with os.fdopen(output, "rb", buffering=0) as stream:
            while data := stream.read(1 << 16):
                self._container_log.append(running.walls.for_people(data))
        process.ended.wait()
        if process.status and not running.down.is_set():
            self._daemon_log.append(f"onstart ended with exit status {process.status}\n".encode())

    def _watch(self, running: Running) -> None:
        """Keep the measure of the disk fresh for ``df``, and hold its processes to what is left of it."""
        limit = None
        while not running.down.wait(WATCH_S):
            with contextlib.suppress(OSError):  # the disk goes away with the box
                lend.tell_used(self._disk.lent, self._disk.used_bytes())
                full = self._disk.free_bytes() == 0
                if full != limit:
                    running.processes.limit_files(self._disk.file_size_limit())
                    limit = full

    async def stop(self) -> None:
        """Pull the plug: no process, connection or port is left when this returns; the disk stays as it is.

        Raises BoxError when a process survives.
        """
        await asyncio.to_thread(self._stop_alone)

    def _stop_alone(self) -> None:
        with self._change:
            self._stop()

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.down.set()
        self._wire.down.set()
        listeners, self._listeners = self._listeners, {}
        try:
            running.processes.kill()
        finally:
            for listener in listeners.values():
                listener.close()
            if self._connections is not None:
                self._connections.cut()
                self._connections = None

    async def destroy(self) -> None:
        """Stop, and delete the disk and all that the host knew."""
        await self.stop()
        await asyncio.to_thread(self._disk.delete)

    @property
    def running(self) -> bool:
        """Whether it is up."""
        return self._running is not None

    @property
    def direct_port(self) -> int | None:
        """Port of SSH straight to the machine, on loopback; another at every start."""
        return self._listeners["direct"].port if "direct" in self._listeners else None

    @property
    def proxy_port(self) -> int | None:
        """Port of SSH through the platform's slower proxy, on loopback; another at every start."""
        return self._listeners["proxy"].port if "proxy" in self._listeners else None

    @property
    def bytes_sent(self) -> int:
        """Bytes that left the box over SSH since this object was made, counted at the socket."""
        return self._wire.sent

    @property
    def bytes_received(self) -> int:
        """Bytes that came into the box over SSH since this object was made, counted at the socket."""
        return self._wire.received

    @property
    def disk_used_bytes(self) -> int:
        """Bytes in files on its disk, by their sizes; while it runs, as measured within about the last second."""
        return self._disk.last_used_bytes if self._running else self._disk.used_bytes(fresh_s=WATCH_S)

    @property
    def isolation_in_force(self) -> str:
        """How it is kept apart from the rest of the system, since its last start; empty before the first."""
        return self._isolation

    def host_public_keys(self) -> list[str]:
        """``type base64`` of each host key; the same over restarts. Empty before the first start."""
        return self._keys.public() if self._keys.path("ed25519").exists() else []

    def set_authorized_keys(self, keys: list[str]) -> None:
        """Replace the public keys that open the box; those of its own file are not asked."""
        parts = [key.split() for key in keys]
        accepted = frozenset(" ".join(words[:2]) for words in parts if len(words) >= 2)
        if self._running is not None:
            self._running.authorized = accepted
        file = self._disk.root / "root/.ssh/authorized_keys"
        with contextlib.suppress(OSError):  # what the box made of its own copy is its own affair
            file.unlink(missing_ok=True)
            file.write_text("".join(key.strip() + "\n" for key in keys))
            file.chmod(0o600)

    def container_log(self, tail: int | None = None) -> str:
        """What ``onstart`` printed, over all starts; the last ``tail`` lines."""
        return self._container_log.read(tail)

    def disk_grew(self, count: int) -> None:
        """Somebody beside the box put so many bytes on its disk: known at once, before the next measure."""
        self._disk.written(count)

    def append_daemon_log(self, line: str) -> None:
        """Add to the host's own log about it."""
        self._daemon_log.append(line.rstrip("\n").encode() + b"\n")

    def daemon_log(self, tail: int | None = None) -> str:
        """The host's own log about it."""
        return self._daemon_log.read(tail)

    def run_command(self, argv: list[str]) -> str:
        """``ls``, ``rm`` or ``du`` on the disk, running or not; what it printed. Raises BoxError for other commands."""
        return self._disk.run(argv)

    def dial(self, port: int) -> socket.socket:
        """A connection to what listens inside on an internal port. Raises OSError."""
        running = self._running
        if running is None:
            raise ConnectionRefusedError(f"box {self.spec.instance_id} is down")
        return running.dial(port)

    @property
    def root(self) -> Path:
        """The box's ``/`` on the real disk."""
        return self._disk.root
