"""Trees that a hostile machine really holds on its disk. Each ends as a named skip or as a clear error."""

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from remote_gpu_trainer.errors import InvalidRequest, LimitExceeded, LocalDiskFull, RgtError
from remote_gpu_trainer.verify.fresh import FreshCopies
from tests.hostile.trees.conftest import LIMITS, Home

pytestmark = pytest.mark.anyio
GOOD = {"good": b"good"}


@dataclass(frozen=True)
class Tree:
    """What to build, and how a copy of it must end."""

    build: Callable[[Path], object]
    arrives: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Beside ``good``."""
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Name as a reader is shown it, and a part of the reason."""
    error: type[RgtError] | None = None
    says: str = ""


def write(*names: str | bytes, content: bytes = b"x") -> Callable[[Path], None]:
    def build(out: Path) -> None:
        for name in names:
            path = os.path.join(os.fsencode(out), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)

    return build


def deep(out: Path) -> None:
    """1,200 folders in each other: deeper than any path may be long."""
    at = os.open(out, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d" * 9, dir_fd=at)
        inner = os.open("d" * 9, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def sparse(size: int) -> Callable[[Path], None]:
    def build(out: Path) -> None:
        with (out / "sparse").open("wb") as file:
            file.truncate(size)

    return build


def listens(out: Path) -> None:
    """A socket; bound by a short name, since theirs may not be long."""
    with socket.socket(socket.AF_UNIX) as bound:
        at = os.open(out, os.O_RDONLY)
        try:
            bound.bind(f"/proc/self/fd/{at}/socket")
        finally:
            os.close(at)


def outside(out: Path) -> Path:
    """A file of the machine that does not lie below the root."""
    secret = out.parent / "secret"
    secret.write_bytes(b"secret")
    return secret


def linked(out: Path) -> None:
    (out / "folder").symlink_to(outside(out).parent)


def device(out: Path) -> None:
    try:
        os.mknod(out / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


def many(count: int, folder: str = "") -> Callable[[Path], None]:
    return write(*(f"{folder}{number:04d}" for number in range(count)))


CONTROL, HIDDEN = "a control character", "an invisible or direction-changing character"
WINDOWS = "a device's name on Windows"
TREES: dict[str, Tree] = {
    "newline": Tree(write("a\nb"), skipped={"a\\nb": CONTROL}),
    "a line of the list itself": Tree(
        write('x\n{"path": "y", "kind": "file", "size": 1, "mtime_ns": 1}'), skipped={"x\\n{": CONTROL}
    ),
    "terminal escape": Tree(write("\x1b[2J\x1b]0;owned\x07"), skipped={"\\x1b[2J": CONTROL}),
    "carriage return": Tree(write("innocent\revil"), skipped={"innocent\\revil": CONTROL}),
    "delete": Tree(write("a\x7f"), skipped={"a\\x7f": CONTROL}),
    "C1 control": Tree(write("a\x9b31m"), skipped={"a\\x9b31m": CONTROL}),
    "right-to-left override": Tree(write("a\u202egpj.exe"), skipped={"a\\u202egpj.exe": HIDDEN}),
    "direction isolate": Tree(write("a\u2066b\u2069"), skipped={"a\\u2066b\\u2069": HIDDEN}),
    "zero width": Tree(write("go\u200bod"), skipped={"go\\u200bod": HIDDEN}),
    "byte order mark": Tree(write("\ufeffgood"), skipped={"\\ufeffgood": HIDDEN}),
    "line separator": Tree(write("a\u2028b"), skipped={"a\\u2028b": "a line separator"}),
    "private use": Tree(write("a\ue000"), skipped={"a\\ue000": "private-use"}),
    "unassigned": Tree(write("a\U0003fffe"), skipped={"a\\U0003fffe": "unassigned"}),
    "not UTF-8": Tree(write(b"\xff\xfe"), skipped={"<name 2 is not UTF-8>": "not UTF-8"}),
    "a folder that is not UTF-8": Tree(write(b"\xff/inner"), skipped={"<name 3 is not UTF-8>": "not UTF-8"}),
    "case": Tree(write("Model.bin", "model.bin"), {"Model.bin": b"x"}, {"model.bin": "collides with Model.bin"}),
    "case of the good one": Tree(write("GOOD/inner"), {"GOOD/inner": b"x"}, {"good": "collides with GOOD"}),
    "sharp s": Tree(write("STRASSE", "stra\xdfe"), {"STRASSE": b"x"}, {"stra\xdfe": "collides with STRASSE"}),
    "Turkish dotless": Tree(write("K", "\u212a"), {"K": b"x"}, {"\u212a": "collides with K"}),
    "composed": Tree(write("e\u0301", "\xe9"), {"e\u0301": b"x"}, {"\xe9": "collides with e"}),
    "full width": Tree(write("ab", "\uff41\uff42"), {"ab": b"x"}, {"\uff41\uff42": "collides with ab"}),
    "folders by case": Tree(write("Sub/a", "sub/b"), {"Sub/a": b"x"}, {"sub/b": "collides with Sub"}),
    "long name": Tree(write("n" * 255), {"n" * 255: b"x"}),
    "long path": Tree(write("/".join(["p" * 200] * 6)), skipped={"ppp": "longer than 1024 bytes"}),
    "deep": Tree(write("/".join("d" * 12) + "/f"), skipped={"d/d/d": "not listed"}),
    "deeper than a path may be long": Tree(deep, skipped={"ddddddddd/ddddddddd": "not listed"}),
    "backslashes": Tree(write("..\\..\\evil"), skipped={"..\\..\\evil": "a backslash"}),
    "drive letter": Tree(write("C:\\evil"), skipped={"C:\\evil": "a backslash"}),
    "CON": Tree(write("CON"), skipped={"CON": WINDOWS}),
    "nul with a suffix": Tree(write("nul.txt"), skipped={"nul.txt": WINDOWS}),
    "a folder aux": Tree(write("aux/inner"), skipped={"aux/inner": WINDOWS}),
    "COM of superscript": Tree(write("com\xb9.log"), skipped={"com\xb9.log": WINDOWS}),
    "trailing dot": Tree(write("name."), skipped={"name.": "ends with a dot"}),
    "trailing space": Tree(write("name "), skipped={"name ": "ends with a space"}),
    "only dots": Tree(write("..."), skipped={"...": "ends with a dot"}),
    "our own folder": Tree(write(".rgt-partial/map.jsonl"), skipped={".rgt-partial/map.jsonl": "unfinished files"}),
    "our own folder by case": Tree(write(".RGT-Partial/f"), skipped={".RGT-Partial/f": "unfinished files live"}),
    "options": Tree(write("-rf", "--checkpoint-action=exec=sh"), {"-rf": b"x", "--checkpoint-action=exec=sh": b"x"}),
    "shell words": Tree(
        write("$(touch canary)", "`touch canary`", "; touch canary", "~root", "%2e%2e%2fevil"),
        dict.fromkeys(("$(touch canary)", "`touch canary`", "; touch canary", "~root", "%2e%2e%2fevil"), b"x"),
    ),
    "symlink to a file": Tree(lambda out: (out / "l").symlink_to(outside(out)), skipped={"l": "a symlink"}),
    "symlink to a folder": Tree(linked, skipped={"folder": "a symlink"}),
    "symlink to itself": Tree(lambda out: (out / "l").symlink_to("l"), skipped={"l": "a symlink"}),
    "symlink upwards": Tree(lambda out: (out / "l").symlink_to(".."), skipped={"l": "a symlink"}),
    "symlink to nothing": Tree(lambda out: (out / "l").symlink_to("/none/at/all"), skipped={"l": "a symlink"}),
    "symlink with a hostile target": Tree(lambda out: (out / "l").symlink_to("\x1b[2J"), skipped={"l": "a symlink"}),
    "hard link out of the tree": Tree(lambda out: os.link(outside(out), out / "hard"), {"hard": b"secret"}),
    "pipe": Tree(lambda out: os.mkfifo(out / "pipe"), skipped={"pipe": "a fifo"}),
    "socket": Tree(listens, skipped={"socket": "a socket"}),
    "endless device": Tree(device, skipped={"zero": "a device"}),
    "sparse beyond the policy": Tree(sparse(33 << 20), error=LimitExceeded, says="the policy allows"),
    "more entries than the policy allows": Tree(many(520), error=LimitExceeded, says="the policy allows 300 files"),
    "more files than the policy allows": Tree(many(310), error=LimitExceeded, says="the policy allows 300 files"),
    "a root that is a link": Tree(
        lambda out: (out.rename(out.parent / "real"), out.symlink_to("real")), error=InvalidRequest, says="listed"
    ),
    "a root that is a pipe": Tree(
        lambda out: (out.rename(out.parent / "real"), os.mkfifo(out)), error=InvalidRequest, says="listed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
async def test_a_hostile_tree_ends_in_named_skips_or_a_clear_error(home: Home, name: str) -> None:
    tree = TREES[name]
    (home.out / "good").write_bytes(b"good")
    tree.build(home.out)
    if tree.error is not None:
        with anyio.fail_after(20), pytest.raises(tree.error, match=tree.says) as raised:
            await home.pull()
        assert "Nothing was copied" in str(raised.value)
        assert not home.home.exists() or home.arrived() == {}
        return
    with anyio.fail_after(20):
        receipt = await home.pull()
    reasons = {entry.path: entry.reason for entry in receipt.skipped}
    unexplained = {
        shown: reason
        for shown, reason in tree.skipped.items()
        if not any(path.startswith(shown) and reason in why for path, why in reasons.items())
    }
    assert unexplained == {}, reasons
    expected = {name: content for name, content in (GOOD | tree.arrives).items() if name not in tree.skipped}
    assert home.arrived() == expected
    assert {entry.path for entry in receipt.manifest.entries} == set(expected)
    assert all(text.isprintable() for entry in receipt.skipped for text in (entry.path, entry.reason))


async def test_a_file_with_a_name_outside_the_tree_arrives_as_its_own_and_the_other_name_is_told(home: Home) -> None:
    os.link(outside(home.out), home.out / "hard")
    (home.out / "one").write_bytes(b"twice")
    os.link(home.out / "one", home.out / "two")
    receipt = await home.pull()
    assert home.arrived() == {"hard": b"secret", "one": b"twice", "two": b"twice"}
    [told] = [entry for entry in receipt.not_copied if "another name" in entry.reason]
    assert (told.path, told.size) == (f"{home.out}/hard", 0)
    assert "it has 2, 1 of them here" in told.reason
    assert receipt.skipped == ()


async def test_a_sparse_file_of_eight_tebibytes_is_refused_for_want_of_room(home: Home) -> None:
    sparse(1 << 43)(home.out)
    with pytest.raises(LocalDiskFull, match="Nothing was copied"):
        await home.pull(limits=LIMITS.model_copy(update={"max_bytes": 1 << 60}))
    assert home.arrived() == {}


async def test_a_sparse_file_within_the_policy_arrives_as_the_zeros_that_it_is(home: Home) -> None:
    sparse(3 << 20)(home.out)
    receipt = await home.pull()
    assert home.arrived() == {"sparse": bytes(3 << 20)}
    fresh = FreshCopies()
    fresh.remember(receipt)
    assert [mark.sha256 for mark in fresh.of(receipt).values()] == [receipt.manifest.entries[0].sha256]


async def test_a_list_that_ends_at_its_limit_says_so_and_supports_no_claim_of_absence(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    for number in range(520):
        (home.out / f"{number}").mkdir()
    receipt = await home.pull()
    assert receipt.manifest.truncated
    assert set(home.arrived()) <= {"good"}
