"""The network side of a box: bytes counted at the socket, faults on request, and the platform's slow proxy."""

import contextlib
import errno
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from remote_gpu_trainer.emulator.box.spec import BoxFaults
from remote_gpu_trainer.emulator.linefaults import LineFault, LineFaults, wait_out

LOOPBACK = "127.0.0.1"
BUFFER = 4 << 20
PROXY_CHUNK = 32 << 10
PROXY_BYTES_PER_S = 12_000_000
PROXY_LATENCY_S = 0.02
QUEUE_CHUNKS = 64
STALL_LOOK_S = 0.05
ACCEPT_AGAIN_S = 0.1


class Cut(ConnectionError):
    """The connection was dropped, as asked by a fault."""


@dataclass
class Wire:
    """What one box sent and received over SSH, in bytes, and the faults on its line."""

    faults: BoxFaults = field(default_factory=BoxFaults)
    sent: int = 0
    received: int = 0
    line_faults: LineFaults = field(default_factory=LineFaults)
    down: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def passed(self, sent: int, received: int) -> None:
        """Count bytes that went out of the box and into it."""
        with self._lock:
            self.sent += sent
            self.received += received

    def hold(self) -> None:
        """Return at once, or when a stall is over. Raises Cut when the box goes down meanwhile."""
        while self.faults.stall:
            if self.down.wait(STALL_LOOK_S):
                raise _went_down()


def _went_down() -> Cut:
    return Cut(errno.ECONNRESET, "the box went down")


class WireSocket:
    """A socket that counts and fails as its wire says; what the SSH server holds in place of the real one."""

    def __init__(self, real: socket.socket, wire: Wire, fault: LineFault | None = None) -> None:
        self._real, self._wire, self._fault = real, wire, fault
        self._passed = 0
        with contextlib.suppress(OSError):
            real.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with contextlib.suppress(OSError):
            real.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def suffers(self, kind: str) -> bool:
        """Whether this connection was picked for a fault of that kind."""
        return self._fault is not None and self._fault.kind == kind

    @property
    def late_s(self) -> float:
        """Real seconds by which the greeting of this connection comes late."""
        own = self._fault.delay_s if self._fault is not None and self._fault.kind == "banner-delay" else 0.0
        return max(own, self._wire.faults.banner_delay_s)

    def _hold(self) -> None:
        self._wire.hold()
        if self._fault is not None:
            wait_out(self._fault, self._passed, self._wire.down, STALL_LOOK_S, _went_down)

    def send(self, data: bytes | memoryview) -> int:
        """Send all that the fault leaves of the data; less only when the socket's time is up."""
        self._hold()
        view, count = memoryview(self._allowed(data)), 0
        while count < len(view):
            try:
                count += self._real.send(view[count:])
            except TimeoutError:
                if not count:
                    raise
                break
        self._count(count, 0)
        return count

    def recv(self, most: int) -> bytes:
        """Receive, waiting out a stall before and after."""
        self._hold()
        data = self._real.recv(most)
        self._hold()
        self._count(0, len(data))
        return data

    @property
    def _cut_after(self) -> int | None:
        own = self._fault.bytes if self._fault is not None and self._fault.kind == "cut" else None
        every = self._wire.faults.cut_after_bytes
        return min((most for most in (own, every) if most is not None), default=None)

    def _allowed(self, data: bytes | memoryview) -> bytes | memoryview:
        most = self._cut_after
        return data if most is None else data[: max(1, most - self._passed)]

    def _count(self, sent: int, received: int) -> None:
        self._passed += sent + received
        self._wire.passed(sent, received)
        most = self._cut_after
        if most is not None and self._passed >= most:
            self.close()
            raise Cut(errno.ECONNRESET, f"cut after {self._passed} bytes")

    def close(self) -> None:
        """Drop the connection: the peer notices at once."""
        with contextlib.suppress(OSError):
            self._real.shutdown(socket.SHUT_RDWR)
        self._real.close()

    def settimeout(self, seconds: float | None) -> None:
        """As the real socket."""
        self._real.settimeout(seconds)

    def gettimeout(self) -> float | None:
        """As the real socket."""
        return self._real.gettimeout()

    def fileno(self) -> int:
        """As the real socket."""
        return self._real.fileno()

    def getpeername(self) -> tuple[str, int]:
        """Where the client is; the proxy's own address for what came through it."""
        try:
            address = self._real.getpeername()
        except OSError:
            address = None
        return (str(address[0]), int(address[1])) if isinstance(address, tuple) else (LOOPBACK, 0)  # pyright: ignore[reportUnknownArgumentType]  # typeshed: Any


class Listener:
    """A listening port on loopback with a thread of its own; ``serve`` gets every connection."""

    def __init__(self, serve: Callable[[socket.socket], None], name: str) -> None:
        self._socket = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._serve = serve
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as problem:
                if problem.errno in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    time.sleep(ACCEPT_AGAIN_S)
                    continue
                return
            self._serve(connection)

    def close(self) -> None:
        """Stop listening; the port is free when this returns."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class Connections:
    """The open connections of one run of a box: each is served on a thread of its own, and all can be cut at once."""

    def __init__(self, wire: Wire, serve: Callable[[WireSocket], None]) -> None:
        self._wire, self._serve = wire, serve
        self._open: set[WireSocket] = set()
        self._lock = threading.Lock()

    def take(self, connection: socket.socket, line: str) -> None:
        """Serve a connection that came by ``line`` in the background, until it or the box ends."""
        wired = WireSocket(connection, self._wire, self._wire.line_faults.take(line))
        with self._lock:
            self._open.add(wired)
        threading.Thread(target=self._work, args=(wired,), name="box-connection", daemon=True).start()

    def _work(self, wired: WireSocket) -> None:
        try:
            if not self._wire.down.wait(wired.late_s):
                self._serve(wired)
        finally:
            wired.close()
            with self._lock:
                self._open.discard(wired)

    def cut(self) -> None:
        """Drop every connection."""
        with self._lock:
            going = list(self._open)
        for wired in going:
            wired.close()


class Proxy:
    """The platform's SSH proxy for one connection: slower, capped, and later. ``inner`` is the box's end of it."""

    def __init__(self, client: socket.socket) -> None:
        outer, self.inner = socket.socketpair()
        self._ends = (client, outer)
        self._open = 2
        self._lock = threading.Lock()
        for source, target in (self._ends, self._ends[::-1]):
            pipe: queue.Queue[tuple[float, bytes]] = queue.Queue(QUEUE_CHUNKS)
            for work, end in ((_pull, source), (self._push, target)):
                threading.Thread(target=work, args=(end, pipe), name="box-proxy", daemon=True).start()

    def _push(self, target: socket.socket, pipe: queue.Queue[tuple[float, bytes]]) -> None:
        while True:
            due, data = pipe.get()
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            try:
                if not data:
                    break
                target.sendall(data)
            except OSError:
                self._break()
                while pipe.get()[1]:  # let the other thread come to its end
                    pass
                break
        self._break()
        with self._lock:
            self._open -= 1
            last = not self._open
        for end in self._ends if last else ():
            end.close()

    def _break(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _pull(source: socket.socket, pipe: queue.Queue[tuple[float, bytes]]) -> None:
    busy_until = 0.0
    with contextlib.suppress(OSError):
        while data := source.recv(PROXY_CHUNK):
            busy_until = max(busy_until, time.monotonic()) + len(data) / PROXY_BYTES_PER_S
            pipe.put((busy_until + PROXY_LATENCY_S, data))
    pipe.put((time.monotonic() + PROXY_LATENCY_S, b""))
