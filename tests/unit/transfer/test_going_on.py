"""A copy that was interrupted goes on, wherever the machine answers by then and whoever asks."""

import hashlib
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.errors import ConnectionCut, TransferError
from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer.tasks import CHUNK
from tests.unit.transfer.conftest import LEASE, Far

pytestmark = pytest.mark.anyio
MIB = 1 << 20
CONNECTIONS = 2
"""A copy uses at most so many at once."""


def demand_whole(receipt: CopyReceipt, home: Path, content: bytes) -> None:
    """What lies there, and what the receipt says of it, is the content."""
    assert (home / "big").read_bytes() == content
    assert receipt.manifest.entries[0].sha256 == hashlib.sha256(content).hexdigest()


async def test_a_machine_that_comes_back_at_another_port_in_the_middle_is_gone_on_with(
    far: Far, tmp_path: Path
) -> None:
    content = os.urandom(24 * MIB)
    (far.out / "big").write_bytes(content)
    ports: list[int | None] = []

    async def connect() -> ParamikoHost:
        if len(ports) == 1:
            await far.box.stop()
            await far.box.start(True, [far.connector.public_key()])
        far.box.faults.cut_after_bytes = 9 * MIB if not ports else None
        ports.append(far.box.direct_port)
        return await far.connect()

    receipt = await far.pull(tmp_path / "home", factory=connect)
    demand_whole(receipt, tmp_path / "home", content)
    assert ports[0] != ports[1]
    assert receipt.bytes_transferred <= len(content) + CHUNK * CONNECTIONS


async def test_a_copy_that_began_over_the_proxy_goes_on_over_the_direct_port(far: Far, tmp_path: Path) -> None:
    content = os.urandom(24 * MIB)
    (far.out / "big").write_bytes(content)
    asked: list[EndpointKind] = []

    async def connect() -> ParamikoHost:
        kind = EndpointKind.DIRECT if asked else EndpointKind.PROXY
        port = far.box.direct_port if asked else far.box.proxy_port
        far.box.faults.cut_after_bytes = None if asked else 9 * MIB
        asked.append(kind)
        host = await far.connector.connect(LEASE, [Endpoint(kind=kind, host="127.0.0.1", port=port or 0)], timeout_s=10)
        far.connections.append(host)
        return host

    receipt = await far.pull(tmp_path / "home", factory=connect)
    demand_whole(receipt, tmp_path / "home", content)
    assert set(asked) == {EndpointKind.PROXY, EndpointKind.DIRECT}
    assert receipt.bytes_transferred <= len(content) + CHUNK * CONNECTIONS


async def test_a_program_that_was_killed_in_the_middle_is_gone_on_from_by_the_next(far: Far, tmp_path: Path) -> None:
    content, home = os.urandom(48 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    command = [sys.executable, "-m", "tests.unit.transfer.killed", str(tmp_path / "keys"), str(far.box.direct_port)]
    first = await anyio.run_process([*command, str(home), str(12 * MIB)], check=False)
    assert first.returncode == -signal.SIGKILL, first.stderr
    came = int(first.stdout)
    assert 12 * MIB < came < len(content)
    assert not (home / "big").exists()

    receipt = await far.pull(home)
    demand_whole(receipt, home, content)
    assert receipt.bytes_transferred <= len(content) - came + CHUNK * CONNECTIONS


async def test_something_in_the_way_of_an_unfinished_file_is_a_clear_error(far: Far, tmp_path: Path) -> None:
    (far.out / "big").write_bytes(os.urandom(2 * MIB))
    home = tmp_path / "home"

    async def once() -> ParamikoHost:
        if far.connections:
            raise ConnectionCut("gone")
        far.box.faults.cut_after_bytes = MIB
        return await far.connect()

    with pytest.raises(ConnectionCut):
        await far.pull(home, factory=once)
    (begun,) = [path for path in (home / ".rgt-partial").iterdir() if path.name != "map.jsonl"]
    begun.unlink()
    begun.mkdir()
    far.box.faults.cut_after_bytes = None
    with pytest.raises(TransferError, match=f"writing under {home} failed.*No finished file was touched"):
        await far.pull(home)
