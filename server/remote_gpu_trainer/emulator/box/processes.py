"""The processes of a running box, seen from the host: start them, wait for them, kill them all at once."""

import array
import contextlib
import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from remote_gpu_trainer.emulator.box.isolation import SYSTEM_PATH, Walls
from remote_gpu_trainer.emulator.box.lent import pid1
from remote_gpu_trainer.emulator.box.spec import BoxError

MARK = "RGT_EMULATOR_BOX"
START_MOST_S = 20.0
ENDED_MOST_S = 10.0


@dataclass
class Process:
    """One process that the host started in the box. ``status`` is its exit status, ``signal`` what killed it."""

    id: int
    pid: int = 0
    problem: str = ""
    status: int | None = None
    signal: int | None = None
    master: int = -1
    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class Processes:
    """All processes of one run of a box: from start to the plug being pulled."""

    def __init__(self, walls: Walls) -> None:
        """Start the first process. Raises BoxError when it does not come up."""
        self.walls = walls
        self.mark = f"{MARK}={uuid.uuid4()}"
        self._known: dict[int, Process] = {}
        self._ids = itertools.count(1)
        self._leaders: set[int] = set()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self.root_fd = -1
        self._host, inside = socket.socketpair()
        facts_in, facts_out = os.pipe()
        first = [sys.executable, "-S", "-E", f"{walls.lent}/pid1.py", str(inside.fileno()), self.mark]
        tells_pid = walls.prefix[:1] == ["bwrap"]
        prefix = ["bwrap", "--info-fd", str(facts_out), *walls.prefix[1:]] if tells_pid else walls.prefix
        with inside:
            try:
                self._outer = subprocess.Popen(
                    [*prefix, *first],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", **dict([self.mark.split("=", 1)])},
                    pass_fds=(inside.fileno(), facts_out) if tells_pid else (inside.fileno(),),
                    start_new_session=True,
                )
            finally:
                os.close(facts_out)
        with os.fdopen(facts_in, "rb") as facts:
            said = facts.read() if tells_pid else b""
        self.first_pid: int = json.loads(said)["child-pid"] if said else self._outer.pid
        self._reader = threading.Thread(target=self._listen, name="box-processes", daemon=True)
        self._reader.start()
        if not self._ready.wait(START_MOST_S) or self.root_fd < 0:
            self.kill()
            said = self._outer.stderr.read() if self._outer.stderr else b""
            raise BoxError(f"the box's first process did not start: {said.decode(errors='replace')[-400:]}")
        if walls.own_pids and not tells_pid:
            self.first_pid = next(pid for pid, parent in pid1.parents().items() if parent == self._outer.pid)

    def spawn(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        *,
        streams: tuple[int, int, int] | None = None,
        terminal: tuple[int, int] | None = None,
        file_size: int | None = None,
    ) -> Process:
        """Start ``argv`` with ``streams`` (which the caller still owns), or on a new terminal of rows and columns.

        Raises BoxError when the box is going down.
        """
        process = Process(next(self._ids))
        environment = {**env, **dict([self.mark.split("=", 1)])}
        order = {"op": "spawn", "id": process.id, "argv": argv, "env": environment, "cwd": cwd, "fsize": file_size}
        with self._lock:
            self._known[process.id] = process
        self._tell({**order, "pty": terminal}, [*(streams or ())])
        if not process.started.wait(START_MOST_S):
            raise BoxError("the box is going down; nothing was started in it")
        return process

    def dial(self, port: int) -> socket.socket:
        """A connection to what listens on a port of the box's own network. Raises OSError, and BoxError when down."""
        call = Process(next(self._ids))
        with self._lock:
            self._known[call.id] = call
        self._tell({"op": "dial", "id": call.id, "port": port})
        if not call.ended.wait(START_MOST_S) or call.master < 0:
            number = call.status or errno.ECONNREFUSED
            raise OSError(number, os.strerror(number))
        line = socket.socket(fileno=call.master)
        line.setblocking(True)  # it comes as it was left inside, with a time limit
        return line

    def signal(self, process: Process, number: int) -> None:
        """Send a signal to the process' group, if it still runs."""
        with contextlib.suppress(BoxError):
            self._tell({"op": "signal", "id": process.id, "signal": number})

    def resize(self, process: Process, rows: int, cols: int) -> None:
        """Tell the process' terminal its new size."""
        with contextlib.suppress(BoxError):
            self._tell({"op": "size", "id": process.id, "rows": rows, "cols": cols})

    def limit_files(self, most: int) -> None:
        """From now on no process of the box may make a file longer than this many bytes."""
        with contextlib.suppress(BoxError):
            self._tell({"op": "fsize", "bytes": most})

    def kill(self) -> None:
        """Pull the plug: SIGKILL to all of them, children that left their session or their parent too.

        Raises BoxError when something survives.
        """
        gone = True
        with contextlib.suppress(ProcessLookupError):
            if self.walls.own_pids:
                os.kill(self.first_pid, signal.SIGKILL)  # the kernel ends the whole name space with it
            else:
                gone = pid1.kill_below(self.first_pid, self.mark, frozenset(self._leaders))
                os.kill(self.first_pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._outer.wait(ENDED_MOST_S)
        if not self.walls.own_pids:
            leaders = frozenset(self._leaders)
            gone = (
                pid1.kill_below(self.first_pid, self.mark, leaders) and gone
            )  # what came between, or had lost its parent
        self._host.close() if not self._reader.is_alive() else self._host.shutdown(socket.SHUT_RDWR)
        self._reader.join(ENDED_MOST_S)
        self._host.close()
        if self._outer.stderr:
            self._outer.stderr.close()
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1
        if not gone or self._outer.poll() is None:
            raise BoxError(f"processes of the box survive ({self.mark}); look for them with that in their environment")

    def _tell(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        line = json.dumps(message).encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with self._lock:
            try:
                sent = self._host.sendmsg([line], rights)
                self._host.sendall(line[sent:])
            except OSError as problem:
                raise BoxError("the box is down") from problem

    def _listen(self) -> None:
        text, fds = b"", list[int]()
        while True:
            try:
                data, ancillary, _, _ = self._host.recvmsg(1 << 16, socket.CMSG_SPACE(4 * pid1.FDS_MOST))
            except OSError:
                break
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds += array.array("i", payload[: len(payload) - len(payload) % 4])
            if not data:
                break
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                self._hear(json.loads(line), fds)
        for process in list(self._known.values()):  # the plug was pulled: everything ended with it
            process.signal = process.signal or signal.SIGKILL
            process.started.set()
            process.ended.set()
        self._ready.set()

    def _hear(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["op"] == "ready":
            self.root_fd = fds.pop(0)
            self._ready.set()
            return
        process = self._known.get(message["id"])
        if process is None:
            return
        if message["op"] == "started":
            process.pid, process.problem = message["pid"], message["error"]
            if not pid1.SUBREAPER:
                self._leaders.add(process.pid)
            process.master = fds.pop(0) if fds else -1
            process.started.set()
        elif message["op"] == "dialled":
            process.status, process.master = message["error"], -1 if message["error"] else fds.pop(0)
            del self._known[process.id]
            process.ended.set()
        elif message["op"] == "exit":
            process.status, process.signal = message["status"], message["signal"]
            del self._known[process.id]
            process.ended.set()
