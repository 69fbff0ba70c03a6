"""One disk, two ways to it: what came over the machine's rsync is not sent again over SSH, nor the other way round."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.emulator.box import MachineRsync
from remote_gpu_trainer.errors import ConnectionCut, TransferError
from remote_gpu_trainer.ports import ByteStream
from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer import far_hasher, recheck_local
from tests.unit.transfer.conftest import Far
from tests.unit.transfer.test_salvage import RSYNC, Machine, tree

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not RSYNC or not shutil.which("ssh"), reason="rsync or the ssh client is not installed"),
]
MIB = 1 << 20
SPARE = MIB // 4
"""What rsync receives beside the bytes of files: lists and checksums."""
CONTENTS = {"model.bin": os.urandom(6 * MIB), "a/log.txt": b"hello\n", "empty": b"", "ü": b"u" * 300}


@pytest.fixture
async def machine(far: Far, tmp_path: Path) -> AsyncIterator[Machine]:
    """The machine below the box: its rsync serves the same disk."""
    served = MachineRsync(tmp_path / "machine", lambda: {7: far.box.root}, lambda: [far.connector.public_key()])
    await served.start()
    yield Machine(far.box.root, served, far.connector)
    await served.stop()


@pytest.fixture
def filled(far: Far) -> dict[str, bytes]:
    """Files on the machine, written at times with nanoseconds."""
    for number, (name, content) in enumerate(CONTENTS.items()):
        (far.out / name).parent.mkdir(parents=True, exist_ok=True)
        (far.out / name).write_bytes(content)
        os.utime(far.out / name, ns=(1, 1_785_000_000_123_456_789 + number))
    return dict(CONTENTS)


async def test_what_a_rescue_brought_home_is_not_sent_again_over_ssh(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    rescued = await machine.salvage(tmp_path / "home")
    assert rescued.bytes_transferred > 6 * MIB
    (far.out / "later").write_bytes(b"later")

    receipt = await far.pull(tmp_path / "home")

    assert receipt.bytes_transferred == 5
    assert receipt.estimated_cost == pytest.approx(5 / 1e9 * 0.02)
    assert tree(tmp_path / "home") == filled | {"later": b"later"}
    assert {entry.path: entry.mtime_ns % 1000 for entry in receipt.manifest.entries}["model.bin"] == 789
    assert recheck_local(receipt) == []


async def test_a_rescued_file_that_was_rewritten_within_its_second_is_seen_by_the_machines_hash(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    await machine.salvage(tmp_path / "home")
    before = (far.out / "model.bin").stat()
    filled["model.bin"] = os.urandom(6 * MIB)
    (far.out / "model.bin").write_bytes(filled["model.bin"])
    os.utime(far.out / "model.bin", ns=(before.st_atime_ns, before.st_mtime_ns))

    receipt = await far.pull(tmp_path / "home")

    assert receipt.bytes_transferred == 6 * MIB
    assert tree(tmp_path / "home") == filled


async def test_a_rescued_file_that_was_altered_here_is_sent_again(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    await machine.salvage(tmp_path / "home")
    (tmp_path / "home" / "ü").write_bytes(b"v" * 300)
    receipt = await far.pull(tmp_path / "home")
    assert receipt.bytes_transferred == 300
    assert tree(tmp_path / "home") == filled


class Asked:
    """A connection over which the machine's hashes are counted, and given by a shell script where there is one."""

    round_trip_s = 0.0

    def __init__(self, host: ParamikoHost, seen: list[str], script: str | None, *, cut: bool = False) -> None:
        self._host, self._seen, self._script, self._cut = host, seen, script, cut
        self.endpoint, self.run, self.put, self.close = host.endpoint, host.run, host.put, host.close

    def stream(
        self, argv: Sequence[str], *, stdin: bytes | Iterable[bytes] = b"", chunk: int = 1 << 20, bulk: bool = False
    ) -> AbstractAsyncContextManager[ByteStream]:
        if any("hashes the beginnings of files" in word for word in argv):
            self._seen.append("asked")
            if self._cut and len(self._seen) == 1:
                raise ConnectionCut("gone")
            argv = argv if self._script is None else ["sh", "-c", f"cat > /dev/null; {self._script}"]
        return self._host.stream(argv, stdin=stdin, chunk=chunk, bulk=bulk)


async def test_what_the_machine_has_confirmed_once_it_need_not_hash_again(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    asked: list[str] = []

    async def connect() -> Any:
        return Asked(await far.connect(), asked, None)

    await machine.salvage(tmp_path / "home")
    assert (await far.pull(tmp_path / "home", factory=connect)).bytes_transferred == 0
    assert (await far.pull(tmp_path / "home", factory=connect)).bytes_transferred == 0
    assert asked == ["asked"]


@pytest.mark.parametrize(
    "script",
    [
        f"echo 0 {'0' * 64}; echo 1 -; echo 2 {'f' * 64}; echo 3 -",
        "true",
        "echo no python >&2; exit 127",
    ],
)
async def test_a_machine_that_does_not_confirm_a_rescued_file_sends_it_again(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path, script: str
) -> None:
    async def connect() -> Any:
        return Asked(await far.connect(), [], script)

    await machine.salvage(tmp_path / "home")
    receipt = await far.pull(tmp_path / "home", factory=connect)
    assert receipt.bytes_transferred == sum(map(len, filled.values()))
    assert tree(tmp_path / "home") == filled


@pytest.mark.parametrize(
    "script", ["echo hello", "echo 0 -; echo 0 -", "echo 4 -", f"echo 1 {'0' * 63}", "head -c 200 /dev/zero"]
)
async def test_hashes_that_nobody_asked_for_end_the_copy(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path, script: str
) -> None:
    async def connect() -> Any:
        return Asked(await far.connect(), [], script)

    await machine.salvage(tmp_path / "home")
    with pytest.raises(TransferError, match="where a hash of a file was asked for"):
        await far.pull(tmp_path / "home", factory=connect)
    assert tree(tmp_path / "home") == filled


async def test_a_cut_while_the_machine_hashes_is_gone_on_from(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    asked: list[str] = []

    async def connect() -> Any:
        return Asked(await far.connect(), asked, None, cut=True)

    await machine.salvage(tmp_path / "home")
    assert (await far.pull(tmp_path / "home", factory=connect)).bytes_transferred == 0
    assert asked == ["asked", "asked"]


def test_only_a_plain_file_of_the_listed_size_and_nanosecond_is_hashed(tmp_path: Path) -> None:
    for name in ("f", "longer", "later"):
        (tmp_path / name).write_bytes(b"hello, world")
        os.utime(tmp_path / name, ns=(7, 7))
    (tmp_path / "link").symlink_to("f")
    os.mkfifo(tmp_path / "pipe")
    rows = [
        ["f", 12, 12, 7, hashlib.sha256(b"hello, world").hexdigest()],
        ["f", 5, 12, 7, hashlib.sha256(b"hello").hexdigest()],
        ["f", 13, 12, 7, "-"],
        ["longer", 11, 11, 7, "-"],
        ["later", 12, 12, 8, "-"],
        *([name, 12, 12, 7, "-"] for name in ("link", "pipe", "gone")),
    ]
    asked = [[number, str(tmp_path), *row[:-1]] for number, row in enumerate(rows)]
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in asked)
    done = subprocess.run([sys.executable, far_hasher.__file__], input=lines, stdout=subprocess.PIPE, check=True)
    told = dict(line.split() for line in done.stdout.decode().splitlines() if line)
    assert told == {str(number): row[-1] for number, row in enumerate(rows)}


async def test_a_rescue_takes_what_came_over_ssh_as_it_is(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    await far.pull(tmp_path / "home")
    (far.out / "later").write_bytes(b"later")
    receipt = await machine.salvage(tmp_path / "home")
    assert receipt.bytes_transferred < SPARE
    assert receipt.compared == len(filled) + 1
    assert tree(tmp_path / "home") == filled | {"later": b"later"}
    assert (await far.pull(tmp_path / "home")).bytes_transferred == 0
