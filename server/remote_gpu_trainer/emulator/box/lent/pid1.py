"""The first process of a box: it starts what the host asks for, reaps what is orphaned, and ends with the host.

Standard library only: it is copied into the box and runs there as process 1 of its own process namespace, or, without
one, as the subreaper to which every orphan of the box returns, so that none can hide by forking twice.

The host speaks JSON lines over a Unix socket, with file descriptors beside them, in order:
``{"op":"spawn","id","argv","env","cwd","pty":[rows,cols]|null,"fsize"}`` with stdin, stdout, stderr (none for a pty),
``{"op":"signal","id","signal"}``, ``{"op":"fsize","bytes"}``, ``{"op":"size","id","rows","cols"}``,
``{"op":"dial","id","port"}``.
Answers: ``{"op":"ready"}`` with a descriptor of ``/``, ``{"op":"started","id","pid","error"}`` (with the pty's master),
``{"op":"exit","id","status","signal"}``, ``{"op":"dialled","id","error"}`` (with the connection, unless it failed).
"""

import array
import contextlib
import errno
import fcntl
import json
import os
import pty
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
SUBREAPER = sys.platform == "linux"
"""Whether orphans come back to the first process; elsewhere the groups of what was started are remembered."""
KILL_ROUNDS = 200
FDS_MOST = 16
DIAL_MOST_S = 1.0


def parents() -> dict[int, int]:
    """Parent of every process that can be seen, by process id."""
    if not Path("/proc/self/stat").exists():
        return _parents_by_ps()
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):  # processes end while we read
                state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(name)] = int(parent)
    return found


def _parents_by_ps() -> dict[int, int]:
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,state="], capture_output=True, text=True, check=False).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0]): int(row[1]) for row in rows if len(row) == 3 and not row[2].startswith("Z")}


def descendants(root: int) -> set[int]:
    """All processes below ``root``, without it."""
    tree, found = parents(), {root}
    grew = True
    while grew:
        more = {pid for pid, parent in tree.items() if parent in found} - found
        grew = bool(more)
        found |= more
    return found - {root}


def marked(marker: str) -> set[int]:
    """Processes whose environment holds ``marker`` (``NAME=value``); empty where the system does not show it."""
    found: set[int] = set()
    wanted = marker.encode()
    for name in os.listdir("/proc") if Path("/proc/self/environ").exists() else ():
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):  # another user's, or gone
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.add(int(name))
    return found


def grouped(leaders: set[int]) -> set[int]:
    """Processes in the groups of these leaders, for systems that hand orphans to nobody of ours."""
    listing = subprocess.run(["ps", "-axo", "pid=,pgid=,state="], capture_output=True, text=True, check=False).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0]) for row in rows if len(row) == 3 and int(row[1]) in leaders and not row[2].startswith("Z")}


def kill_below(root: int, marker: str = "", leaders: frozenset[int] | None = None) -> bool:
    """SIGKILL everything below ``root``, marked, or in the groups of ``leaders``, until nothing is left.

    False if something stays.
    """
    for _ in range(KILL_ROUNDS):
        left = descendants(root) | (marked(marker) if marker else set[int]())
        left |= grouped({*leaders}) if leaders else set[int]()
        left.discard(root)
        if not left:
            return True
        for pid in left:  # stopped first, so that none forks while the others die
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if root == os.getpid():
            with contextlib.suppress(OSError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        select.select([], [], [], 0.005)
    return False


class First:
    """The loop of the first process."""

    def __init__(self, host: socket.socket) -> None:
        self.host = host
        self.jobs: dict[int, int] = {}
        self.leaders: set[int] = set()
        self.masters: dict[int, int] = {}
        self.fds: list[int] = []
        self.text = b""

    def tell(self, fds: list[int] | None = None, **message: Any) -> None:
        """Send one line to the host."""
        line = json.dumps(message).encode() + b"\n"
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.host.sendmsg([line], ancillary)
        self.host.sendall(line[sent:])

    def run(self) -> None:
        """Serve until the host is gone."""
        wake_in, wake_out = os.pipe()
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, awake)
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self.tell([root], op="ready")
        while True:
            ready = select.select([self.host, wake_in], [], [])[0]
            if wake_in in ready:
                os.read(wake_in, 4096)
                self.reap()
            if self.host in ready and not self.hear():
                return

    def reap(self) -> None:
        """Collect every child that ended, ours and adopted ones."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job = self.jobs.pop(pid, None)
            if job is not None:
                if (master := self.masters.pop(job, -1)) >= 0:
                    os.close(master)
                code = os.waitstatus_to_exitcode(status)
                self.tell(op="exit", id=job, status=max(code, 0), signal=-code if code < 0 else None)

    def hear(self) -> bool:
        """Read what the host sent. False when it is gone."""
        try:
            data, ancillary, _, _ = self.host.recvmsg(1 << 16, socket.CMSG_SPACE(FDS_MOST * 4))
        except OSError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.fds += array.array("i", payload[: len(payload) - len(payload) % 4])
        *lines, self.text = (self.text + data).split(b"\n")
        for line in lines:
            self.obey(json.loads(line))
        return bool(data)

    def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order."""
        job = order.get("id", 0)
        if order["op"] == "spawn":
            self.spawn(order)
        elif order["op"] == "dial":
            self.dial(job, order["port"])
        elif order["op"] == "signal":
            for pid in [pid for pid, known in self.jobs.items() if known == job]:
                with contextlib.suppress(OSError):
                    os.killpg(pid, order["signal"])
        elif order["op"] == "size" and job in self.masters:
            with contextlib.suppress(OSError):
                resize(self.masters[job], order["rows"], order["cols"])
        elif order["op"] == "fsize" and sys.platform == "linux":
            for pid in parents().keys() - {1} if os.getpid() == 1 else descendants(os.getpid()):
                with contextlib.suppress(OSError, ValueError):
                    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (order["bytes"], hard))

    def dial(self, job: int, port: int) -> None:
        """Connect to what listens in the box's own network, and hand the connection over."""
        line = socket.socket()
        line.settimeout(DIAL_MOST_S)  # on loopback it is refused or taken at once, unless its queue is full
        with line:
            try:
                line.connect(("127.0.0.1", port))
            except OSError as problem:
                self.tell(op="dialled", id=job, error=problem.errno or errno.ETIMEDOUT)
            else:
                self.tell([line.fileno()], op="dialled", id=job, error=0)

    def spawn(self, order: dict[str, Any]) -> None:
        """Start one process in a session of its own."""
        master = slave = -1
        if order["pty"]:
            master, slave = pty.openpty()
            resize(slave, *order["pty"])
            streams = [slave, slave, slave]
        else:
            streams, self.fds = self.fds[:3], self.fds[3:]
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            become(order, streams, tell, on_terminal=slave >= 0)
        os.close(tell)
        for fd in {*streams}:
            os.close(fd)
        problem = os.read(told, 4096).decode(errors="replace")
        os.close(told)
        self.jobs[pid] = order["id"]
        if not SUBREAPER:
            self.leaders.add(pid)
        self.tell([master] if master >= 0 else None, op="started", id=order["id"], pid=pid, error=problem)
        if master >= 0:
            self.masters[order["id"]] = master


def awake(number: int, frame: object) -> None:
    """Do nothing: that a child ended is told by the wake-up pipe, which only a handled signal writes to."""


def resize(terminal: int, rows: int, cols: int) -> None:
    """Set a terminal's size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, cols & 0xFFFF, 0, 0))


def become(order: dict[str, Any], streams: list[int], tell: int, *, on_terminal: bool) -> None:
    """In the child: take the streams and the limits, and run the program. Never returns."""
    try:
        os.setsid()
        if on_terminal:
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk is an error to the writer, not its death
        if order.get("fsize") is not None:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["fsize"], hard))
        os.chdir(order["cwd"])
        if tell != 3:
            os.dup2(tell, 3, inheritable=False)
        os.closerange(4, 4096)
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606  # what the host asked for
    except OSError as problem:
        text = f"{errno.errorcode.get(problem.errno or 0, '?')}: {problem.strerror}: {order['argv'][0]}"
        with contextlib.suppress(OSError):
            os.write(2, text.encode() + b"\n")
            os.write(3, text.encode())
    finally:
        os._exit(127)


def main() -> None:
    """Take the socket that the host left open, serve, and take everything along at the end."""
    inherited = int(sys.argv[1])
    host = socket.socket(fileno=os.dup(inherited))  # select() takes none above 1023, where a host of many boxes is
    os.close(inherited)
    if SUBREAPER:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # what is meant for the emulator's terminal is not meant for a box
    first = First(host)
    with contextlib.suppress(OSError):  # the host went away in the middle of a sentence
        first.run()
    kill_below(os.getpid(), sys.argv[2] if len(sys.argv) > 2 else "", frozenset(first.leaders))


if __name__ == "__main__":
    main()
