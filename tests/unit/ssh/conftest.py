"""Two kinds of servers on loopback: a box's own, which is paramiko's, and the system's real ``sshd``."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.ssh import HostKeyPins, ParamikoConnector, ParamikoHost
from tests.machines import plain_box

LEASE = LeaseId("digits-k3vq7m")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


@dataclass
class Side:
    """This computer's keys and pins, and the port where a server answers."""

    home: Path
    connector: ParamikoConnector
    port: int = 0
    opened: list[ParamikoHost] = field(default_factory=list[ParamikoHost])

    @property
    def pins(self) -> HostKeyPins:
        return HostKeyPins(self.home)

    async def connect(self, port: int | None = None) -> ParamikoHost:
        """A new connection."""
        endpoint = Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=port or self.port)
        host = await self.connector.connect(LEASE, [endpoint], timeout_s=10)
        self.opened.append(host)
        return host


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def sshd(folder: Path, public_key: str) -> Generator[int]:
    """A real ``sshd`` with a host key of its own, on a free port of loopback."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    (folder / "authorized").write_text(f"{public_key}\n")
    settings = {
        "ListenAddress": "127.0.0.1", "Port": port, "HostKey": folder / "key", "StrictModes": "no", "PidFile": "none",
        "AuthorizedKeysFile": folder / "authorized", "PasswordAuthentication": "no", "UsePAM": "no",
        "PermitRootLogin": "prohibit-password", "LogLevel": "QUIET",
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    server = subprocess.Popen([SSHD or "sshd", "-D", "-f", str(folder / "config")])
    try:
        wait_for(port)
        yield port
    finally:
        server.kill()
        server.wait()


def wait_for(port: int) -> None:
    """Return once something listens there."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            threading.Event().wait(0.02)  # nothing tells when a process listens
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    home = tmp_path / "home"
    made = Side(home, ParamikoConnector(home, clock=SystemClock()))
    yield made
    for host in made.opened:
        await host.close()


@pytest.fixture
async def real(side: Side, tmp_path: Path) -> AsyncIterator[Side]:
    """With a real ``sshd``, which lets root in only when it runs as root."""
    if SSHD is None or os.geteuid() != 0 or shutil.which("ssh") is None:
        pytest.skip("a real sshd needs root, and ssh and sshd installed")
    with sshd(tmp_path / "sshd", side.connector.public_key()) as port:
        side.port = port
        yield side


@pytest.fixture(params=["paramiko", "sshd"])
async def served(request: pytest.FixtureRequest, side: Side, tmp_path: Path) -> AsyncIterator[Side]:
    """With either kind of server."""
    if request.param == "paramiko":
        async with plain_box(tmp_path / "box", side.connector.public_key()) as box:
            side.port = box.direct_port or 0
            yield side
        return
    if SSHD is None or os.geteuid() != 0:
        pytest.skip("a real sshd needs root")
    with sshd(tmp_path / "sshd", side.connector.public_key()) as port:
        side.port = port
        yield side
