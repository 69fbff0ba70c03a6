"""Bringing files home from a real box over real SSH."""

import hashlib
import os
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.errors import (
    ConnectionCut,
    HostKeyChanged,
    HostUnreachable,
    InvalidRequest,
    LimitExceeded,
    LocalDiskFull,
    RouteRefused,
)
from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer import CopyLimits, Progress, recheck_local
from remote_gpu_trainer.transfer.chunks import ChunkMap, Piece
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.tasks import CHUNK, FileTask
from tests.unit.transfer.conftest import LEASE, LIMITS, Far
from tests.unit.transfer.littledisk import little_disk

pytestmark = pytest.mark.anyio
MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the unfinished ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / ".rgt-partial")
    }


async def test_every_file_arrives_with_its_bytes_and_its_hash(far: Far, tmp_path: Path) -> None:
    contents = {"model.bin": noise(9 * MIB + 17), "a/b/log.txt": b"hello\n", "empty": b"", "exact": noise(4 * MIB)}
    for name, content in contents.items():
        (far.out / name).parent.mkdir(parents=True, exist_ok=True)
        (far.out / name).write_bytes(content)
    receipt = await far.pull(tmp_path / "home")
    assert tree(tmp_path / "home") == contents
    assert {e.path: e.sha256 for e in receipt.manifest.entries} == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
    assert receipt.bytes_transferred == sum(map(len, contents.values()))
    assert receipt.cost == pytest.approx(receipt.bytes_transferred / 1e9 * 0.02)
    assert recheck_local(receipt) == []


async def test_the_price_of_the_missing_bytes_is_told_before_the_first_of_them_moves(far: Far, tmp_path: Path) -> None:
    (far.out / "big").write_bytes(noise(3 * MIB))
    seen: list[Progress] = []
    receipt = await far.pull(tmp_path / "home", progress=seen.append)
    assert (seen[0].bytes_done, seen[0].bytes_total) == (0, 3 * MIB)
    assert seen[0].cost == receipt.estimated_cost == pytest.approx(3 * MIB / 1e9 * 0.02)
    assert (await far.pull(tmp_path / "home")).estimated_cost == 0


async def test_a_copy_that_is_dear_needs_an_acknowledgement_before_its_first_byte(far: Far, tmp_path: Path) -> None:
    (far.out / "big").write_bytes(noise(3 * MIB))
    dear = LIMITS.model_copy(update={"max_cost": 0.00005})
    with pytest.raises(RouteRefused, match=r"VAST9.*acknowledge=\['VAST9'\].*Nothing was copied"):
        await far.pull(tmp_path / "home", limits=dear)
    assert tree(tmp_path / "home") == {}
    await far.pull(tmp_path / "home")
    assert (await far.pull(tmp_path / "home", limits=dear)).estimated_cost == 0


async def test_a_second_copy_moves_nothing(far: Far, tmp_path: Path) -> None:
    (far.out / "big").write_bytes(noise(3 * MIB))
    (far.out / "small").write_bytes(b"x")
    first = await far.pull(tmp_path / "home")
    second = await far.pull(tmp_path / "home")
    assert second.bytes_transferred == 0
    assert second.manifest == first.manifest


async def test_a_local_file_that_was_altered_is_fetched_again(far: Far, tmp_path: Path) -> None:
    (far.out / "small").write_bytes(b"right")
    receipt = await far.pull(tmp_path / "home")
    (tmp_path / "home" / "small").write_bytes(b"wrong")
    assert recheck_local(receipt) == ["small holds other bytes than were copied"]
    await far.pull(tmp_path / "home")
    assert (tmp_path / "home" / "small").read_bytes() == b"right"


async def test_files_of_another_lease_are_never_taken_for_the_same(far: Far, tmp_path: Path) -> None:
    (far.out / "f").write_bytes(b"x" * 100)
    await far.pull(tmp_path / "home")
    assert (await far.pull(tmp_path / "home", lease="other-abcdef")).bytes_transferred == 100


async def test_a_cut_at_any_byte_sends_at_most_a_little_twice(far: Far, tmp_path: Path) -> None:
    content = noise(40 * MIB)
    (far.out / "big").write_bytes(content)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    cuts = random.Random(seed)
    far.before_connect = lambda number: setattr(
        far.box.faults, "cut_after_bytes", cuts.randrange(2 * MIB, 8 * MIB) if number < 8 else None
    )
    receipt = await far.pull(tmp_path / "home")
    assert (tmp_path / "home" / "big").read_bytes() == content
    assert len(far.connections) > 4
    assert receipt.bytes_transferred < len(content) * 1.03
    assert receipt.manifest.entries[0].sha256 == hashlib.sha256(content).hexdigest()


async def test_a_call_that_gave_up_is_continued_by_the_next(far: Far, tmp_path: Path) -> None:
    content = noise(20 * MIB)
    (far.out / "big").write_bytes(content)

    async def once() -> ParamikoHost:
        far.before_connect(0)
        if far.connections:
            raise ConnectionCut("gone")
        far.box.faults.cut_after_bytes = 12 * MIB
        return await far.connect()

    with pytest.raises(ConnectionCut):
        await far.pull(tmp_path / "home", factory=once)
    assert tree(tmp_path / "home") == {}
    far.box.faults.cut_after_bytes = None
    receipt = await far.pull(tmp_path / "home")
    assert receipt.bytes_transferred < 12 * MIB
    assert (tmp_path / "home" / "big").read_bytes() == content


@pytest.mark.parametrize("size", [7, 9 * MIB])
async def test_a_file_that_lacked_only_its_name_when_the_program_was_killed_gets_it(
    far: Far, tmp_path: Path, size: int
) -> None:
    content, home = noise(size), tmp_path / "home"
    (far.out / "f").write_bytes(content)
    entry = (await far.pull(tmp_path / "elsewhere")).manifest.entries[0]
    task = FileTask("/workspace/out", "f", "f", f"{LEASE}:/workspace/out", size, entry.mtime_ns)
    landing = Landing(home)
    chunks = ChunkMap(landing)
    fd = landing.open_partial(task.key)
    os.pwrite(fd, content, 0)
    os.close(fd)
    for at in range(0, size, CHUNK):
        part = content[at : at + CHUNK]
        chunks.add_piece(task.key, Piece(offset=at, length=len(part), sha256=hashlib.sha256(part).hexdigest()))
    chunks.close()
    landing.close()
    receipt = await far.pull(home)
    assert (receipt.bytes_transferred, tree(home)) == (0, {"f": content})


async def test_pieces_that_were_damaged_on_the_local_disk_are_fetched_again(far: Far, tmp_path: Path) -> None:
    content = noise(20 * MIB)
    (far.out / "big").write_bytes(content)

    async def once() -> ParamikoHost:
        if far.connections:
            raise ConnectionCut("gone")
        far.box.faults.cut_after_bytes = 12 * MIB
        return await far.connect()

    with pytest.raises(ConnectionCut):
        await far.pull(tmp_path / "home", factory=once)
    far.box.faults.cut_after_bytes = None
    partial = next((tmp_path / "home" / ".rgt-partial").glob("[0-9a-f]*"))
    with partial.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"damage")
    await far.pull(tmp_path / "home")
    assert (tmp_path / "home" / "big").read_bytes() == content


async def test_a_file_that_changes_under_the_copy_is_copied_anew(far: Far, tmp_path: Path) -> None:
    (far.out / "log").write_bytes(b"one")
    seen: list[Progress] = []

    def progress(state: Progress) -> None:
        if not seen:
            (far.out / "log").write_bytes(b"one two")
            (far.out / "later").write_bytes(b"new")
        seen.append(state)

    receipt = await far.pull(tmp_path / "home", progress=progress)
    assert tree(tmp_path / "home") == {"log": b"one two", "later": b"new"}
    assert receipt.skipped == ()


async def test_a_file_that_never_rests_is_named_and_not_in_the_manifest(far: Far, tmp_path: Path) -> None:
    (far.out / "log").write_bytes(b"")
    (far.out / "still").write_bytes(b"still")

    def progress(_: Progress) -> None:
        with (far.out / "log").open("ab") as file:
            file.write(b"more\n")

    receipt = await far.pull(tmp_path / "home", progress=progress)
    assert [entry.path for entry in receipt.manifest.entries] == ["still"]
    assert [(entry.path, "changed during each" in entry.reason) for entry in receipt.skipped] == [("log", True)]


async def test_links_and_pipes_are_named_and_not_copied(far: Far, tmp_path: Path) -> None:
    (far.out / "link").symlink_to("/etc/passwd")
    os.mkfifo(far.out / "pipe")
    (far.out / "real").write_bytes(b"r")
    receipt = await far.pull(tmp_path / "home")
    assert tree(tmp_path / "home") == {"real": b"r"}
    assert {e.path: e.reason.split(",")[0] for e in receipt.skipped} == {"link": "a symlink", "pipe": "a fifo"}


async def test_links_at_the_destination_are_not_followed(far: Far, tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "home"
    outside.mkdir()
    home.mkdir()
    (outside / "kept").write_bytes(b"kept")
    (home / "sub").symlink_to(outside)
    (home / "file").symlink_to(outside / "kept")
    (far.out / "sub").mkdir()
    (far.out / "sub" / "inner").write_bytes(b"evil")
    (far.out / "file").write_bytes(b"new")
    receipt = await far.pull(home)
    assert tree(outside) == {"kept": b"kept"}
    assert (home / "file").read_bytes() == b"new"
    assert not (home / "file").is_symlink()
    assert [entry.path for entry in receipt.skipped] == ["sub/inner"]


async def test_what_lies_outside_the_roots_is_named_largest_first(far: Far, tmp_path: Path) -> None:
    (far.out / "f").write_bytes(b"x")
    (far.box.root / "workspace" / "data.bin").write_bytes(bytes(500))
    (far.box.root / "workspace" / "more.bin").write_bytes(bytes(900))
    (far.box.root / "workspace" / ".rgt").mkdir(exist_ok=True)
    (far.box.root / "workspace" / ".rgt" / "job.log").write_bytes(b"log")
    receipt = await far.pull(tmp_path / "home")
    assert [(e.path, e.size) for e in receipt.not_copied] == [
        ("/workspace/more.bin", 900),
        ("/workspace/data.bin", 500),
    ]


async def test_several_roots_land_by_their_names(far: Far, tmp_path: Path) -> None:
    other = far.box.root / "workspace" / "ckpt"
    other.mkdir()
    (other / "f").write_bytes(b"1")
    (far.out / "f").write_bytes(b"2")
    receipt = await far.pull(tmp_path / "home", "/workspace/ckpt", "/workspace/out")
    assert tree(tmp_path / "home") == {"ckpt/f": b"1", "out/f": b"2"}
    assert recheck_local(receipt) == []


async def test_more_than_the_policy_allows_is_refused_before_the_first_byte(far: Far, tmp_path: Path) -> None:
    (far.out / "f").write_bytes(bytes(2000))
    with pytest.raises(LimitExceeded, match="Nothing was copied"):
        await far.pull(tmp_path / "home", limits=CopyLimits(max_bytes=1999, max_files=9, max_depth=9))
    assert not (tmp_path / "home").exists()


async def test_a_sparse_file_that_does_not_fit_is_refused_before_the_first_byte(far: Far, tmp_path: Path) -> None:
    with (far.out / "f").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(LocalDiskFull, match="Nothing was copied"):
        await far.pull(tmp_path / "home", limits=LIMITS.model_copy(update={"max_bytes": 1 << 60}))


async def test_a_root_that_is_not_there_is_named(far: Far, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="/workspace/nowhere cannot be listed"):
        await far.pull(tmp_path / "home", "/workspace/nowhere")


async def test_another_host_key_after_a_cut_ends_the_copy(far: Far, tmp_path: Path) -> None:
    (far.out / "big").write_bytes(noise(12 * MIB))

    def before(number: int) -> None:
        far.box.faults.cut_after_bytes = 4 * MIB if number == 0 else None
        far.box.faults.change_host_key = number > 0

    far.before_connect = before
    with pytest.raises(HostKeyChanged):
        await far.pull(tmp_path / "home")
    assert tree(tmp_path / "home") == {}


async def test_a_cancelled_copy_leaves_no_half_file_under_its_name(far: Far, tmp_path: Path) -> None:
    (far.out / "big").write_bytes(noise(8 * MIB))
    far.before_connect = lambda number: setattr(far.box.faults, "cut_after_bytes", None)
    stop = anyio.CancelScope()

    def progress(state: Progress) -> None:
        far.box.faults.stall = True
        stop.cancel()

    with anyio.fail_after(20), stop:
        await far.pull(tmp_path / "home", progress=progress)
    far.box.faults.stall = False
    assert stop.cancelled_caught
    assert tree(tmp_path / "home") in ({}, {"big": (far.out / "big").read_bytes()})


async def test_a_crowd_of_small_files_arrives_whole(far: Far, tmp_path: Path) -> None:
    for number in range(1500):
        (far.out / f"{number % 7}").mkdir(exist_ok=True)
        (far.out / f"{number % 7}" / f"{number}.json").write_bytes(noise(number % 300, number))
    receipt = await far.pull(tmp_path / "home")
    assert tree(tmp_path / "home") == tree(far.out)
    assert len(receipt.manifest.entries) == 1500


@pytest.mark.parametrize("comes", [False, True])
async def test_from_far_away_a_second_connection_is_opened_during_the_list_and_may_fail(
    far: Far, tmp_path: Path, comes: bool
) -> None:
    calls = 0

    async def factory() -> ParamikoHost:
        nonlocal calls
        calls += 1
        if calls > 1 and not comes:
            raise HostUnreachable("too many connections")
        host = await far.connect()
        host.round_trip_s = 0.1
        return host

    (far.out / "one").write_bytes(b"content")
    receipt = await far.pull(tmp_path / "home", factory=factory)

    assert [entry.path for entry in receipt.manifest.entries] == ["one"]
    assert calls == 2


async def test_what_changed_appeared_or_vanished_after_it_was_fetched_is_seen_by_the_last_look(
    far: Far, tmp_path: Path
) -> None:
    for name in ("a-changes", "c-stays", "d-vanishes"):
        (far.out / name).write_bytes(b"one")

    def change() -> None:
        (far.out / "a-changes").write_bytes(b"other")
        (far.out / "b-appears").write_bytes(b"new")
        (far.out / "d-vanishes").unlink(missing_ok=True)

    async def connect() -> Any:
        return Drained(await far.connect(), change)

    receipt = await far.pull(tmp_path / "home", factory=connect)
    wanted = {"a-changes": b"other", "b-appears": b"new", "c-stays": b"one", "d-vanishes": b"one"}
    assert {name: (tmp_path / "home" / name).read_bytes() for name in wanted} == wanted
    assert [(entry.path, entry.size) for entry in receipt.manifest.entries] == [
        (name, len(content)) for name, content in wanted.items()
    ]
    assert receipt.skipped == ()
    assert recheck_local(receipt) == []


class Drained:
    """A connection that tells when the machine has sent all that was asked of it."""

    def __init__(self, host: ParamikoHost, then: Callable[[], None]) -> None:
        self._host, self._then = host, then
        self.endpoint, self.run, self.put, self.close = host.endpoint, host.run, host.put, host.close

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], **other: Any) -> AsyncGenerator[Any]:
        async with self._host.stream(argv, **other) as output:
            yield output
        if other.get("bulk"):
            self._then()


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    with little_disk(tmp_path / "little", 6) as place:
        yield place


async def test_a_disk_that_fills_up_in_the_midst_of_a_copy_ends_it_and_room_lets_it_go_on(
    far: Far, little: Path
) -> None:
    wanted, home = {"a-small": os.urandom(200_000), "b-big": os.urandom(3 << 20)}, little / "home"
    for name, content in wanted.items():
        (far.out / name).write_bytes(content)

    def arrived() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}

    def fill(size: int, count: int) -> None:
        (little / "other").write_bytes(bytes(4 << 20))

    with pytest.raises(LocalDiskFull, match="no room is left"):
        await far.pull(home, before=fill)
    assert "b-big" not in arrived()
    assert arrived().items() <= wanted.items()
    (little / "other").unlink()
    await far.pull(home)
    assert arrived() == wanted
