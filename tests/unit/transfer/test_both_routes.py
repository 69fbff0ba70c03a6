"""One disk, two ways to it: what came over the machine's rsync is not sent again over SSH, nor the other way round."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.emulator.box import MachineRsync
from remote_gpu_trainer.errors import ConnectionCut, RouteRefused, TransferError
from remote_gpu_trainer.ports import ByteStream
from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer import far_hasher, read_manifest, recheck_local
from remote_gpu_trainer.transfer.claims import Claims
from remote_gpu_trainer.transfer.plan import plan_files
from tests.unit.transfer.conftest import LEASE, LIMITS, SCRIPT, Far
from tests.unit.transfer.test_salvage import RSYNC, Machine, tree
from tests.unit.transfer.test_stream import shelf_in

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


async def test_hashes_that_nobody_asked_for_end_the_copy(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    await machine.salvage(tmp_path / "home")
    for script in ("echo hello", "echo 0 -; echo 0 -", "echo 4 -", f"echo 1 {'0' * 63}", "head -c 200 /dev/zero"):

        async def connect(script: str = script) -> Any:
            return Asked(await far.connect(), [], script)

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


async def cut_short(far: Far, home: Path, *, after: int, **other: Any) -> None:
    """Copy over SSH until so many bytes have come, and nobody answers any more."""
    before = len(far.connections)

    async def once() -> ParamikoHost:
        if len(far.connections) > before:
            raise ConnectionCut("gone")
        far.box.faults.cut_after_bytes = after
        return await far.connect()

    with pytest.raises(ConnectionCut):
        await far.pull(home, factory=once, **other)
    far.box.faults.cut_after_bytes = None


def unfinished(home: Path) -> list[Path]:
    """What lies beside the map of what has arrived."""
    return [path for path in (home / ".rgt-partial").rglob("*") if path.name != "map.jsonl"]


async def test_a_rescue_goes_on_from_the_half_that_a_broken_copy_over_ssh_left_and_clears_it_away(
    far: Far, machine: Machine, tmp_path: Path
) -> None:
    content, home = os.urandom(24 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    (far.out / "small").write_bytes(b"small")
    await cut_short(far, home, after=14 * MIB)
    assert tree(home).keys() <= {"small"}

    receipt = await machine.salvage(home)

    assert receipt.bytes_transferred < 24 * MIB - 8 * MIB
    assert receipt.estimated_cost == pytest.approx(receipt.bytes_transferred / 1e9 * 0.02, rel=0.2)
    assert tree(home) == {"big": content, "small": b"small"}
    assert unfinished(home) == []
    assert (await far.pull(home)).bytes_transferred == 0


async def test_the_half_of_a_file_that_changed_since_serves_as_far_as_it_is_still_the_same(
    far: Far, machine: Machine, tmp_path: Path
) -> None:
    content, home = os.urandom(24 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    await cut_short(far, home, after=14 * MIB)
    content = b"other" + content[5:] + b"and more"
    (far.out / "big").write_bytes(content)

    with pytest.raises(RouteRefused, match="VAST9"):  # for all that may have to come, though most will not
        await machine.salvage(home, limits=LIMITS.model_copy(update={"max_cost": 23 * MIB / 1e9 * 0.02}))
    receipt = await machine.salvage(home)

    assert receipt.bytes_transferred < 24 * MIB - 8 * MIB
    assert tree(home) == {"big": content}
    assert unfinished(home) == []


async def test_a_rescue_builds_on_whichever_half_is_the_larger(far: Far, machine: Machine, tmp_path: Path) -> None:
    content, home = os.urandom(24 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    await cut_short(far, home, after=14 * MIB)
    staged = home / ".rgt-partial" / "rescue" / LEASE / "workspace" / "out" / "big"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(content[: 2 * MIB])

    receipt = await machine.salvage(home)

    assert receipt.bytes_transferred < 24 * MIB - 8 * MIB
    assert tree(home) == {"big": content}


async def test_halves_of_another_lease_and_of_files_that_are_not_whole_stay(
    far: Far, machine: Machine, tmp_path: Path
) -> None:
    content, home = os.urandom(12 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    await cut_short(far, home, after=7 * MIB)
    (far.out / "big").rename(far.out / "BIG")
    await cut_short(far, home, after=7 * MIB, lease="other-abcdef")
    before = unfinished(home)
    assert len(before) == 2

    await machine.salvage(home)
    assert unfinished(home) == before

    (far.out / "BIG").rename(far.out / "big")
    (home / "big").mkdir()
    assert "in the way" in (await machine.salvage(home)).skipped[0].reason
    assert set(before) <= set(unfinished(home))

    (home / "big").rmdir()
    assert (await machine.salvage(home)).bytes_transferred < SPARE
    assert len(unfinished(home)) == 1
    assert set(unfinished(home)) < set(before)
    assert (await far.pull(home, lease="other-abcdef")).bytes_transferred == 12 * MIB


def staged_by_a_broken_rescue(home: Path, files: dict[str, bytes]) -> None:
    """What a rescue has of files when it is killed: rsync writes each from its beginning on."""
    for name, content in files.items():
        place = home / ".rgt-partial" / "rescue" / LEASE / "workspace" / "out" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


async def test_what_a_broken_rescue_had_is_gone_on_from_over_ssh(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    begun = {"model.bin": filled["model.bin"][: 4 * MIB], "ü": filled["ü"][:200], "a/log.txt": filled["a/log.txt"]}
    staged_by_a_broken_rescue(home, begun)

    receipt = await far.pull(home)

    assert receipt.bytes_transferred == 2 * MIB + 300
    assert tree(home) == filled
    assert recheck_local(receipt) == []
    assert {path.name for path in unfinished(home)} == set()
    assert [stat.S_IMODE((home / name).stat().st_mode) for name in begun] == [0o600] * 3
    assert (await far.pull(home)).bytes_transferred == 0


async def test_what_a_broken_rescue_had_of_other_bytes_is_not_believed(
    far: Far, machine: Machine, filled: dict[str, bytes], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    other = {"model.bin": os.urandom(4 * MIB), "ü": b"v" * 300, "a/log.txt": b"longer than it is", "empty": b""}
    staged_by_a_broken_rescue(home, other)
    receipt = await far.pull(home)
    assert receipt.bytes_transferred == sum(map(len, filled.values()))
    assert tree(home) == filled
    assert unfinished(home) == []


async def test_the_larger_half_is_gone_on_from_over_ssh(far: Far, machine: Machine, tmp_path: Path) -> None:
    content, home = os.urandom(12 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    await cut_short(far, home, after=9 * MIB)
    staged_by_a_broken_rescue(home, {"big": content[:MIB]})
    assert (await far.pull(home)).bytes_transferred < 12 * MIB - 5 * MIB

    (far.out / "next").write_bytes(content)
    await cut_short(far, home, after=5 * MIB)
    staged_by_a_broken_rescue(home, {"next": content[: 11 * MIB]})
    assert (await far.pull(home)).bytes_transferred == MIB
    assert tree(home) == {"big": content, "next": content}
    assert unfinished(home) == []


async def test_a_machine_that_takes_too_long_to_hash_sends_its_files(
    far: Far, machine: Machine, tmp_path: Path
) -> None:
    (far.out / "f").write_bytes(b"content")
    await machine.salvage(tmp_path / "home")
    manifests = await read_manifest(
        host := await far.connect(), ["/workspace/out"], hash=False, limits=LIMITS, manifest_script=SCRIPT
    )
    tasks, _ = plan_files(manifests, [""], LEASE, LIMITS)
    with shelf_in(tmp_path / "home") as shelf:
        claims = Claims(tasks, shelf, LEASE)
        claims.add(0, hashlib.sha256(b"content").hexdigest())
        slow: Any = Asked(host, asked := [], "sleep 20; echo 0 -")
        with pytest.raises(ConnectionCut, match="did not hash its files within"):
            await claims.confirm(slow, patience_s=0.1)
        await claims.confirm(slow)
    assert asked == ["asked"]
    assert tasks.fates.count_open() == 1


async def test_a_copy_over_ssh_clears_away_what_a_broken_rescue_left(
    far: Far, machine: Machine, tmp_path: Path
) -> None:
    content, home = os.urandom(3 * MIB), tmp_path / "home"
    (far.out / "big").write_bytes(content)
    staged = home / ".rgt-partial" / "rescue" / LEASE / "workspace" / "out"
    staged.mkdir(parents=True)
    for name in ("big", ".big.x1Y2z3", "other", ".other.x1Y2z3", ".big.rc"):
        (staged / name).write_bytes(content[:MIB])
    lent = home / ".rgt-partial" / "rescue-bases"
    lent.mkdir()
    os.link(staged / "other", lent / "other")

    await far.pull(home)

    assert not lent.exists()
    assert sorted(os.listdir(staged)) == [".big.rc", ".other.x1Y2z3", "other"]
    assert tree(home) == {"big": content}


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
