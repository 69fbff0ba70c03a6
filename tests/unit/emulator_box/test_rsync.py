"""The machine-level rsync, with the commands that `vastai copy` runs."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from remote_gpu_trainer.emulator.box import MachineRsync
from tests.unit.emulator_box.conftest import Bench, wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("ssh") is None, reason="rsync or the ssh client is not installed"
)


class Copier:
    """A client as the official command line is one: its key, and the endpoint it talks to."""

    def __init__(self, folder: Path, roots: dict[int, Path]) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        self.identity = folder / "id"
        self.identity.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        self.identity.chmod(0o600)
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        self.keys = [public.decode()]
        self.moved: list[tuple[int, int, int]] = []
        self.endpoint = MachineRsync(
            folder / "machine",
            lambda: roots,
            lambda: self.keys,
            lambda number, sent, received: self.moved.append((number, sent, received)),
        )

    def copy(self, source: str, target: str) -> subprocess.CompletedProcess[str]:
        """`vastai copy`'s own command line (vastai 1.9.1), with its host keys kept out of the home folder."""
        ssh = (
            f"ssh -i {self.identity} -p {self.endpoint.port} -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )
        words = ["rsync", "-arz", "-v", "--progress", "--rsh=ssh", "-e", ssh, source, target]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def copier(tmp_path: Path) -> Iterator[Copier]:
    """An endpoint with one disk, of instance 77."""
    (tmp_path / "disk/workspace/out").mkdir(parents=True)
    made = Copier(tmp_path, {77: tmp_path / "disk"})
    asyncio.run(made.endpoint.start())
    yield made
    asyncio.run(made.endpoint.stop())


@pytest.mark.parametrize("module", ["77", "C.77"])
def test_files_come_home_and_go_out(copier: Copier, tmp_path: Path, module: str) -> None:
    disk, home = tmp_path / "disk/workspace/out", tmp_path / "home"
    content = bytes(range(256)) * 20_000
    (disk / "model").write_bytes(content)
    came = copier.copy(f"vastai_kaalia@127.0.0.1::{module}//workspace/out/", f"{home}/")
    assert came.returncode == 0, came.stderr
    assert (home / "model").read_bytes() == content

    (home / "more").write_text("back")
    went = copier.copy(f"{home}/", f"vastai_kaalia@127.0.0.1::{module}//workspace/in/")
    assert went.returncode == 0, went.stderr
    assert (tmp_path / "disk/workspace/in/more").read_text() == "back"
    wait_until(lambda: len(copier.moved) == 2, "both transfers are told")
    assert {row[0] for row in copier.moved} == {77}
    assert copier.moved[0][1] > 100


def test_an_instance_without_a_disk_is_an_unknown_module(copier: Copier, tmp_path: Path) -> None:
    failed = copier.copy("vastai_kaalia@127.0.0.1::78//workspace/", str(tmp_path / "home"))
    assert failed.returncode != 0
    assert "Unknown module" in failed.stdout + failed.stderr


def test_a_foreign_key_another_user_and_another_command_are_refused(copier: Copier, tmp_path: Path) -> None:
    target = str(tmp_path / "home")
    assert copier.copy("root@127.0.0.1::77//workspace/", target).returncode != 0
    ssh = ["ssh", "-i", str(copier.identity), "-p", str(copier.endpoint.port), "-o", "StrictHostKeyChecking=no"]
    ssh += ["-o", "UserKnownHostsFile=/dev/null", "vastai_kaalia@127.0.0.1", "cat /etc/passwd"]
    answer = subprocess.run(ssh, capture_output=True, text=True, timeout=30, check=False)
    assert (answer.returncode != 0, answer.stdout) == (True, "")
    copier.keys = []
    assert copier.copy("vastai_kaalia@127.0.0.1::77//workspace/", target).returncode != 0


def test_links_do_not_lead_out_of_the_disk(copier: Copier, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    (tmp_path / "disk/workspace/leak").symlink_to(tmp_path)
    copier.copy("vastai_kaalia@127.0.0.1::77//workspace/leak/secret", str(tmp_path / "home"))
    assert not (tmp_path / "home").exists() or "of the host" not in (tmp_path / "home").read_text()


def test_a_stopped_box_is_read(bench: Bench, tmp_path: Path) -> None:
    bench.run("mkdir -p /workspace/out && echo weights > /workspace/out/w")
    bench.stop()
    copier = Copier(tmp_path, {41: bench.box.root})
    asyncio.run(copier.endpoint.start())
    try:
        came = copier.copy("vastai_kaalia@127.0.0.1::41//workspace/out", str(tmp_path / "home"))
    finally:
        asyncio.run(copier.endpoint.stop())
    assert came.returncode == 0, came.stderr
    assert (tmp_path / "home/out/w").read_text() == "weights\n"
    assert copier.endpoint.port is None
