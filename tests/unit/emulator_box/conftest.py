"""Boxes to try: started, reached over SSH on loopback, and destroyed at the end."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from remote_gpu_trainer.emulator.box import Box, BoxError, BoxSpec
from remote_gpu_trainer.emulator.box.spec import Isolation, Network

PATIENCE_S = 20.0


@dataclass
class Said:
    """What a command printed and how it ended; -1 for a signal."""

    out: str
    err: str
    status: int


@dataclass
class Bench:
    """One box, its key, and the clients that were opened to it."""

    box: Box
    key: Any
    public: str
    clients: list[Any] = field(default_factory=list[Any])

    def start(self, *, direct: bool = True) -> None:
        """Boot it."""
        asyncio.run(self.box.start(direct, [self.public]))

    def stop(self) -> None:
        """Pull the plug."""
        asyncio.run(self.box.stop())

    def connect(self, *, port: int | None = None, key: Any = None, user: str = "root") -> Any:
        """A new SSH connection, by the direct port unless another is given."""
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # keys are what some tests look at
        self.clients.append(client)
        client.connect(
            "127.0.0.1",
            port or self.box.direct_port or 0,
            user,
            pkey=key or self.key,
            allow_agent=False,
            look_for_keys=False,
            timeout=PATIENCE_S,
            banner_timeout=PATIENCE_S,
            auth_timeout=PATIENCE_S,
        )
        return client

    def run(self, command: str, *, stdin: bytes = b"", client: Any = None) -> Said:
        """Run one command to its end."""
        channel = (client or self.connect()).get_transport().open_session()
        channel.settimeout(PATIENCE_S)
        channel.exec_command(command)
        channel.sendall(stdin)
        channel.shutdown_write()
        errors = io.BytesIO()
        drain = threading.Thread(target=lambda: errors.write(channel.makefile_stderr("rb").read()))
        drain.start()
        out: bytes = channel.makefile("rb").read()
        drain.join(PATIENCE_S)
        return Said(out.decode(), errors.getvalue().decode(), channel.recv_exit_status())

    @property
    def workspace(self) -> Path:
        """``/workspace`` on the real disk."""
        return self.box.root / "workspace"


def new_key() -> tuple[Any, str]:
    """A private key for a client, and its public line."""
    text = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    key: Any = paramiko.Ed25519Key.from_private_key(io.StringIO(text.decode()))
    return key, f"{key.get_name()} {key.get_base64()} someone@somewhere"


def wait_until(seen: Callable[[], object], what: str) -> None:
    """Return once ``seen`` is true; fail with ``what`` when that takes too long."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if seen():
            return
        pause.wait(0.02)
    pytest.fail(f"not within {PATIENCE_S} s: {what}")


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes benches; their boxes are destroyed at the end."""
    made: list[Bench] = []

    def make(
        isolation: Isolation = "auto",
        *,
        onstart: str = "",
        disk_bytes: int = 1 << 30,
        env: dict[str, str] | None = None,
        ssh: Literal["paramiko", "openssh"] = "paramiko",
        mounts: tuple[tuple[Path, str], ...] = (),
        network: Network = "shared",
    ) -> Bench:
        number = 41 + len(made)
        spec = BoxSpec(
            instance_id=number,
            root=tmp_path / "boxes" / str(number),
            disk_bytes=disk_bytes,
            env=env or {},
            onstart=onstart,
            gpu_name="RTX 4090",
            num_gpus=2,
            gpu_ram_mib=24564,
            driver_version="550.54.15",
            cuda_version="12.4",
            hostname="a1b2c3",
            isolation=isolation,
            ssh=ssh,
            mounts=mounts,
            network=network,
        )
        made.append(Bench(Box(spec), *new_key()))
        return made[-1]

    yield make
    for bench in made:
        for client in bench.clients:
            client.close()
        asyncio.run(bench.box.destroy())


@pytest.fixture(params=["auto", "none"])
def bench(request: pytest.FixtureRequest, make_bench: MakeBench) -> Bench:
    """A running box, once isolated as well as this system can and once in plain folders."""
    made = make_bench(request.param)
    made.start()
    return made


@pytest.fixture(params=["auto", "none", "openssh"])
def served(request: pytest.FixtureRequest, make_bench: MakeBench) -> Bench:
    """A running box as :func:`bench` makes it, and one with the system's own sshd, where there is one."""
    made = make_bench("auto", ssh="openssh") if request.param == "openssh" else make_bench(request.param)
    try:
        made.start()
    except BoxError as problem:
        if request.param != "openssh":
            raise
        pytest.skip(str(problem))
    return made
