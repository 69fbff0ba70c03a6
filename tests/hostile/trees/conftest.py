"""One hostile machine for all trees, and a folder at home whose surroundings are watched."""

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.emulator.box import Box
from remote_gpu_trainer.ssh import ParamikoConnector
from remote_gpu_trainer.transfer import CopyLimits
from tests.hostile.trees.stranger import Manners, Stranger
from tests.unit.transfer.conftest import Far, RealClock

LIMITS = CopyLimits(max_bytes=32 << 20, max_files=300, max_depth=12, max_entries=500, keep_free_bytes=0)


def surroundings(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, links not followed: kind, mode, size, time, links, content or target."""
    found: dict[str, tuple[object, ...]] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            seen = path.lstat()
            held = os.readlink(path) if path.is_symlink() else ""
            if stat.S_ISREG(seen.st_mode):
                held = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_nlink, held)
    return found


@dataclass
class Home:
    """One copy from the hostile machine. ``out`` is its tree, ``home`` where the copy lands."""

    stranger: Stranger
    out: Path
    home: Path
    around: Path
    """The folder that holds ``home`` and things that nobody may touch."""
    far: Far

    async def pull(self, *roots: Path, **other: Any) -> CopyReceipt:
        """Copy ``out`` home."""
        names = [str(root) for root in roots or (self.out,)]
        settings: dict[str, Any] = {"limits": LIMITS, "lease": LeaseId(f"tree-{self.out.parent.name[-30:]}"), **other}
        return await self.far.pull(self.home, *names, **settings)

    def arrived(self) -> dict[str, bytes]:
        """What lies at home under a name of its own; anything but plain files and folders is a failure."""
        found: dict[str, bytes] = {}
        for path in self.home.rglob("*"):
            if path.is_relative_to(self.home / ".rgt-partial"):
                continue
            assert not path.is_symlink()
            assert path.is_dir() or path.is_file()
            if path.is_file():
                assert path.stat().st_nlink == 1
                found[str(path.relative_to(self.home))] = path.read_bytes()
        return found


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def stranger() -> Iterator[Stranger]:
    """The machine, shared by all trees."""
    made = Stranger()
    yield made
    made.close()


@pytest.fixture(scope="session")
def connector(tmp_path_factory: pytest.TempPathFactory) -> ParamikoConnector:
    """Our side of the connections, with its own pins."""
    return ParamikoConnector(tmp_path_factory.mktemp("keys"), clock=RealClock())


@pytest.fixture
async def home(tmp_path: Path, stranger: Stranger, connector: ParamikoConnector) -> AsyncIterator[Home]:
    """A destination; nothing beside it may have changed at the end of the test."""
    stranger.manners = Manners()
    out, around = tmp_path / "far" / "out", tmp_path / "here"
    for folder in (out, around / "beside"):
        folder.mkdir(parents=True)
    (around / "canary").write_bytes(b"alive")
    (around / "beside" / "canary").write_bytes(b"alive")
    (around / "beside" / "link").symlink_to(around / "canary")
    made = Home(stranger, out, around / "home", around, Far(cast(Box, stranger), connector))
    before = surroundings(around)
    yield made
    stranger.manners = Manners()
    for host in made.far.connections:
        await host.close()
    await anyio.run_process(["rm", "-rf", str(out.parent)])  # deeper than pytest's own cleaning reaches
    after = surroundings(around)
    outside = {name: what for name, what in after.items() if name != "home" and not name.startswith("home/")}
    assert outside == before
