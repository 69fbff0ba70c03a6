"""Trees that change between the look and the open, or under the walk, and a machine that changes with them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from remote_gpu_trainer.errors import ConnectionCut, HostKeyChanged, TransferError
from tests.hostile.trees.conftest import Home
from tests.hostile.trees.stranger import Manners

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Move:
    """What happens right after the first list was made, and how the copy must end for the file ``f``."""

    act: Callable[[Path], object]
    reason: str | None = None
    """Part of why ``f`` is named as not copied; None when it arrives."""
    content: bytes = b"first"
    also: dict[str, bytes] = field(default_factory=dict[str, bytes])


def again(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def swapped(out: Path, make: Callable[[Path], object]) -> None:
    (out / "f").unlink()
    make(out / "f")


def folder_for_link(out: Path) -> None:
    """The folder of ``in/f`` becomes a link to one outside that holds a file of the same size and time."""
    seen = (out / "in" / "f").stat()
    other = out.parent / "other"
    other.mkdir()
    (other / "f").write_bytes(b"EVIL!")
    os.utime(other / "f", ns=(seen.st_mtime_ns + 5, seen.st_mtime_ns + 5))
    (out / "in").rename(out.parent / "moved")
    (out / "in").symlink_to(other)


MOVES: dict[str, Move] = {
    "gone": Move(lambda out: (out / "f").unlink(), "vanished"),
    "longer": Move(lambda out: (out / "f").write_bytes(b"first and more"), content=b"first and more"),
    "shorter": Move(lambda out: (out / "f").write_bytes(b"f"), content=b"f"),
    "emptied": Move(lambda out: (out / "f").write_bytes(b""), content=b""),
    "as long and other": Move(lambda out: again(out / "f", b"other"), content=b"other"),
    "a link out of the tree": Move(lambda out: swapped(out, lambda f: f.symlink_to("/etc/passwd")), "vanished"),
    "a link to an endless device": Move(lambda out: swapped(out, lambda f: f.symlink_to("/dev/zero")), "vanished"),
    "a pipe that nobody feeds": Move(lambda out: swapped(out, os.mkfifo), "vanished"),
    "a folder": Move(lambda out: swapped(out, os.mkdir), "vanished"),
    "a folder with files": Move(
        lambda out: swapped(out, lambda f: (f.mkdir(), (f / "g").write_bytes(b"g"))), "vanished", also={"f/g": b"g"}
    ),
    "renamed": Move(lambda out: (out / "f").rename(out / "g"), "vanished", also={"g": b"first"}),
    "joined by its double": Move(lambda out: (out / "F").write_bytes(b"F"), "collides"),
}


@pytest.mark.parametrize("name", MOVES)
async def test_a_file_that_moves_behind_the_list_is_copied_as_it_is_or_named(home: Home, name: str) -> None:
    move = MOVES[name]
    (home.out / "f").write_bytes(b"first")
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(after_list=lambda number: move.act(home.out) if number == 1 else None)
    with anyio.fail_after(20):
        receipt = await home.pull()
    reasons = {entry.path: entry.reason for entry in receipt.skipped}
    arrived = home.arrived()
    if move.reason is None:
        assert reasons == {}
        assert arrived == {"f": move.content, "good": b"good", **move.also}
    else:
        assert any(move.reason in reason for path, reason in reasons.items() if path in {"f", "F"}), reasons
        assert {"good": b"good", **move.also}.items() <= arrived.items()
        assert set(arrived) <= {"f", "F", "good", *move.also}
        assert arrived.get("f", b"first") == b"first"


async def test_a_folder_swapped_for_a_link_sends_nothing_from_behind_the_link(home: Home) -> None:
    (home.out / "in").mkdir()
    (home.out / "in" / "f").write_bytes(b"first")
    home.stranger.manners = Manners(after_list=lambda number: folder_for_link(home.out) if number == 1 else None)
    receipt = await home.pull()
    assert home.arrived() == {}
    assert {entry.path for entry in receipt.skipped} >= {"in/f"}


async def test_a_file_that_grows_without_end_is_named_and_its_length_bounded(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    (home.out / "log").write_bytes(b"")

    def grow(number: int) -> None:
        with (home.out / "log").open("ab") as file:
            file.write(b"x" * 100_000)

    home.stranger.manners = Manners(after_list=grow)
    receipt = await home.pull()
    assert home.arrived() == {"good": b"good"}
    assert [(entry.path, "changed during each" in entry.reason) for entry in receipt.skipped] == [("log", True)]


async def test_a_tree_that_sprouts_under_every_walk_comes_to_an_end(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(after_list=lambda number: (home.out / f"new{number}").write_bytes(b"new"))
    receipt = await home.pull()
    assert {"good": b"good"}.items() <= home.arrived().items()
    assert any("appeared while" in entry.reason for entry in receipt.skipped)
    assert home.stranger.manners.lists <= 5


async def test_another_host_key_at_a_later_contact_is_refused_and_nothing_more_arrives(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    await home.pull()
    (home.out / "late").write_bytes(b"late")
    home.stranger.manners = Manners(change_host_key=True)
    with pytest.raises(HostKeyChanged):
        await home.pull()
    assert home.arrived() == {"good": b"good"}


@pytest.mark.parametrize("size", [400, 3 << 20], ids=["small", "large"])
@pytest.mark.parametrize("kept", [0, 20, 60], ids=["nothing", "a header", "a few bytes"])
async def test_a_machine_that_always_hangs_up_is_given_up(home: Home, size: int, kept: int) -> None:
    (home.out / "good").write_bytes(b"g" * size)
    home.stranger.manners = Manners(cut=True, bend_sent=lambda honest: [honest[:kept]])
    with anyio.fail_after(30), pytest.raises(ConnectionCut):
        await home.pull()
    assert home.arrived() == {}
    assert len(home.far.connections) <= 8


async def test_a_flood_on_standard_error_is_not_kept(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(complaint=b"\x1b[31mno\n" * 400_000)
    await home.pull()
    assert home.arrived() == {"good": b"good"}


def plant_link(home: Home) -> None:
    home.home.mkdir()
    (home.home / "sub").symlink_to(home.around / "beside")


def plant_partial_link(home: Home) -> None:
    home.home.mkdir()
    (home.home / ".rgt-partial").symlink_to(home.around / "beside")


def plant_map_link(home: Home) -> None:
    (home.home / ".rgt-partial").mkdir(parents=True)
    (home.home / ".rgt-partial" / "map.jsonl").symlink_to(home.around / "canary")


def plant_garbage_map(home: Home) -> None:
    (home.home / ".rgt-partial").mkdir(parents=True)
    (home.home / ".rgt-partial" / "map.jsonl").write_bytes(os.urandom(4096))


@pytest.mark.parametrize("plant", [plant_link, plant_partial_link, plant_map_link, plant_garbage_map])
async def test_what_lies_in_wait_at_the_destination_is_not_followed(home: Home, plant: Callable[[Home], None]) -> None:
    (home.out / "sub").mkdir()
    (home.out / "sub" / "canary").write_bytes(b"overwritten")
    plant(home)
    try:
        receipt = await home.pull()
    except TransferError as refused:
        assert refused.next_step
        assert home.arrived() == {}
        return
    assert {entry.path for entry in (*receipt.manifest.entries, *receipt.skipped)} == {"sub/canary"}
