"""Sending files to a real box over real SSH."""

import itertools
import os
import random
import socket
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from remote_gpu_trainer.errors import (
    ConnectionCut,
    DigestMismatch,
    InvalidRequest,
    LimitExceeded,
    RemoteCommandFailed,
)
from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer import Progress
from remote_gpu_trainer.transfer.push import PushReceipt, push
from tests.unit.transfer.conftest import LIMITS, Far, RealClock

pytestmark = pytest.mark.anyio
MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def tree(folder: Path) -> dict[str, bytes]:
    """All regular files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(far: Far) -> Path:
    """``/workspace/run`` on the real disk."""
    return far.box.root / "workspace" / "run"


async def send(far: Far, source: Path, **other: Any) -> PushReceipt:
    """Push to ``/workspace/run``."""
    settings: dict[str, Any] = {"progress": None, "limits": LIMITS, "destination": "/workspace/run", **other}
    return await push(settings.pop("factory", far.connect), source=source, clock=RealClock(), **settings)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project."""
    folder = tmp_path / "project"
    for name, content in {"train.py": b"print(1)\n", "data/a.bin": noise(300_000), "data/empty": b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "go.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "go.sh").chmod(0o755)
    return folder


async def test_a_folder_arrives_whole_and_leaves_nothing_unfinished(far: Far, project: Path) -> None:
    receipt = await send(far, project)
    assert tree(there(far)) == tree(project)
    assert (receipt.files, receipt.bytes, receipt.skipped) == (4, 300_019, ())
    assert receipt.bytes_sent == receipt.bytes
    assert not (there(far) / ".rgt-partial").exists()
    assert os.access(there(far) / "go.sh", os.X_OK)
    assert not (there(far) / "train.py").stat().st_mode & 0o111


async def test_a_second_push_sends_nothing_and_repairs_what_was_altered(far: Far, project: Path) -> None:
    await send(far, project)
    assert (await send(far, project)).bytes_sent == 0
    (there(far) / "train.py").write_bytes(b"print(2)\n")
    (there(far) / "go.sh").chmod(0o644)
    assert (await send(far, project)).bytes_sent == len(b"print(1)\n")
    assert tree(there(far)) == tree(project)
    assert os.access(there(far) / "go.sh", os.X_OK)


async def test_a_single_file_lands_under_its_own_name(far: Far, project: Path) -> None:
    receipt = await send(far, project / "train.py")
    assert tree(there(far)) == {"train.py": b"print(1)\n"}
    assert receipt.files == 1


async def test_what_is_there_beside_stays(far: Far, project: Path) -> None:
    there(far).mkdir(parents=True)
    (there(far) / "mine").write_bytes(b"kept")
    await send(far, project)
    assert (there(far) / "mine").read_bytes() == b"kept"


async def test_history_caches_links_out_and_sockets_are_named_and_stay_here(far: Far, project: Path) -> None:
    for folder in (".git", "data/__pycache__", ".venv"):
        (project / folder).mkdir()
        (project / folder / "inside").write_bytes(b"no")
    (project / "out").symlink_to("/etc/passwd")
    (project / "sideways").symlink_to(project / ".git" / "inside")
    (project / "folder-link").symlink_to(project / "data")
    (project / "same").symlink_to("train.py")
    os.mkfifo(project / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(project / "s"))
        receipt = await send(far, project)
    sent = tree(there(far))
    assert sent.keys() == {"train.py", "go.sh", "data/a.bin", "data/empty", "same"}
    assert sent["same"] == b"print(1)\n"
    assert not any(path.is_symlink() for path in there(far).rglob("*"))
    assert {entry.path for entry in receipt.skipped} == {
        ".git/", ".venv/", "data/__pycache__/", "out", "sideways", "folder-link", "pipe", "s",
    }  # fmt: skip


async def test_cuts_at_any_byte_send_at_most_a_bundle_twice(far: Far, tmp_path: Path) -> None:
    content = noise(60 * MIB)
    (tmp_path / "big").write_bytes(content)
    cuts = random.Random(5)
    far.before_connect = lambda number: setattr(
        far.box.faults, "cut_after_bytes", cuts.randrange(9 * MIB, 30 * MIB) if number < 3 else None
    )
    receipt = await send(far, tmp_path / "big")
    assert tree(there(far)) == {"big": content}
    assert len(far.connections) >= 2
    assert receipt.bytes_sent <= len(content) + (len(far.connections) - 1) * 16 * MIB


async def test_a_push_that_gave_up_is_continued_by_the_next(far: Far, tmp_path: Path) -> None:
    content = noise(40 * MIB)
    (tmp_path / "big").write_bytes(content)

    async def once() -> ParamikoHost:
        if far.connections:
            raise ConnectionCut("gone")
        far.box.faults.cut_after_bytes = 30 * MIB
        return await far.connect()

    with pytest.raises(ConnectionCut):
        await send(far, tmp_path / "big", factory=once)
    assert not (there(far) / "big").exists()
    far.box.faults.cut_after_bytes = None
    assert (await send(far, tmp_path / "big")).bytes_sent < len(content)
    assert (there(far) / "big").read_bytes() == content


async def test_damaged_pieces_over_there_never_get_the_name(far: Far, tmp_path: Path) -> None:
    content = noise(40 * MIB)
    (tmp_path / "big").write_bytes(content)

    async def once() -> ParamikoHost:
        if far.connections:
            raise ConnectionCut("gone")
        far.box.faults.cut_after_bytes = 30 * MIB
        return await far.connect()

    with pytest.raises(ConnectionCut):
        await send(far, tmp_path / "big", factory=once)
    far.box.faults.cut_after_bytes = None
    partial = next(path for path in (there(far) / ".rgt-partial").iterdir() if not path.suffix)
    with partial.open("r+b") as file:
        file.seek(MIB)
        file.write(b"damage")
    await send(far, tmp_path / "big")
    assert (there(far) / "big").read_bytes() == content


async def test_a_file_that_changes_here_is_hashed_and_sent_anew(far: Far, project: Path) -> None:
    def alter(_: int) -> None:
        (project / "train.py").write_bytes(b"print(two)\n")

    far.before_connect = alter
    await send(far, project)
    assert (there(far) / "train.py").read_bytes() == b"print(two)\n"


async def test_a_file_that_never_rests_here_is_refused_and_the_far_one_stays(far: Far, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    log = tmp_path / "p" / "log"
    log.write_bytes(b"first")
    await send(far, tmp_path / "p")

    log.write_bytes(noise(32))

    async def grow() -> None:
        with log.open("r+b", buffering=0) as stream:  # in place: a file cut to nothing for a moment is a file at rest
            for seed in itertools.count():
                stream.seek(0)
                stream.write(noise(32, seed))
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(grow)
        with pytest.raises(DigestMismatch, match="log arrived 3 times"):
            await send(far, tmp_path / "p")
        group.cancel_scope.cancel()
    assert (there(far) / "log").read_bytes() == b"first"


async def test_links_over_there_are_not_followed(far: Far, project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    there(far).mkdir(parents=True)
    (there(far) / "data").symlink_to(outside)
    with pytest.raises(RemoteCommandFailed, match="cannot write data/"):
        await send(far, project)
    assert tree(outside) == {}


async def test_a_folder_in_the_way_over_there_is_named(far: Far, project: Path) -> None:
    (there(far) / "train.py").mkdir(parents=True)
    with pytest.raises(RemoteCommandFailed, match=r"cannot write train\.py: Is a directory"):
        await send(far, project)


async def test_more_than_the_policy_allows_is_refused_before_a_connection(far: Far, project: Path) -> None:
    with pytest.raises(LimitExceeded, match="Nothing was sent"):
        await send(far, project, limits=LIMITS.model_copy(update={"max_files": 3}))
    assert far.connections == []


async def test_a_relative_destination_is_refused(far: Far, project: Path) -> None:
    with pytest.raises(InvalidRequest):
        await send(far, project, destination="/workspace/../etc")
    assert far.connections == []


async def test_a_crowd_arrives_and_progress_reaches_the_end(far: Far, tmp_path: Path) -> None:
    crowd = tmp_path / "crowd"
    for number in range(2500):
        folder = crowd / str(number % 300)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.json").write_bytes(noise(number % 90, number))
    seen: list[Progress] = []
    await send(far, crowd, progress=seen.append)
    assert tree(there(far)) == tree(crowd)
    assert (seen[-1].files_done, seen[-1].bytes_done) == (2500, seen[-1].bytes_total)
