"""A machine whose list of files, or whose stream of bytes, is not what its disk holds.

Every command really runs over SSH, and what it printed is bent on its way out.
"""

import hashlib
import itertools
import json
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.errors import InvalidRequest, LimitExceeded, RemoteCommandFailed, RgtError, TransferError
from tests.hostile.trees.conftest import Home
from tests.hostile.trees.stranger import Bend, Manners

pytestmark = pytest.mark.anyio
DEADLINE_S = 25


def relisted(change: Callable[[list[dict[str, Any]]], list[Any]]) -> Bend:
    """The list with other entries under a trailer that fits them."""

    def bend(honest: bytes) -> Iterator[bytes]:
        head, *entries, tail = honest.splitlines()
        lines = [
            line if isinstance(line, bytes) else json.dumps(line, sort_keys=True).encode()
            for line in change([json.loads(entry) for entry in entries])
        ]
        yield head + b"\n"
        yield from (line + b"\n" for line in lines)
        yield json.dumps({**json.loads(tail), "entries": len(lines), "digest": digest_of(lines)}).encode() + b"\n"

    return bend


def digest_of(lines: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()


def named(path: object, **other: object) -> Bend:
    """The list with one more entry of that name."""
    extra = {"kind": "file", "size": 4, "mtime_ns": 1, "nlink": 1, "path": path, **other}
    return relisted(lambda entries: [*entries, extra])


def good(**other: object) -> Bend:
    """The list with other facts about the good file."""
    return relisted(lambda entries: [{**entry, **other} for entry in entries])


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Bend:
    return lambda honest: [b"".join(line + b"\n" for line in change(honest.splitlines()))]


def tail(**other: object) -> Bend:
    return lines(lambda all_: [*all_[:-1], json.dumps({**json.loads(all_[-1]), **other}).encode()])


def raw(*pieces: bytes) -> Bend:
    return lambda honest: pieces


def endless(piece: bytes, first: int = 0) -> Bend:
    """The honest beginning, then the same piece again and again; 256 MiB stand for no end."""

    def bend(honest: bytes) -> Iterator[bytes]:
        yield honest[:first]
        yield from itertools.repeat(piece, (256 << 20) // len(piece))

    return bend


def entries_without_end(honest: bytes) -> Iterator[bytes]:
    yield honest.splitlines()[0] + b"\n"
    for number in range(1_000_000):
        yield b'{"kind": "file", "size": 1, "mtime_ns": 1, "path": "%d"}\n' % number


def errors_without_end(honest: bytes) -> Iterator[bytes]:
    yield honest.splitlines()[0] + b"\n"
    for number in range(1_000_000):
        yield b'{"path": "%d", "error": "no"}\n' % number


NAMES: dict[str, tuple[object, str]] = {
    "absolute": ("/etc/cron.d/evil", "an absolute path"),
    "upwards": ("../evil", "a component that is '..'"),
    "far upwards": ("../" * 40 + "etc/passwd", "deeper than"),
    "upwards within": ("in/../../evil", "a component that is '..'"),
    "here": ("./evil", "a component that is '.'"),
    "doubled slash": ("in//evil", "a component that is ''"),
    "trailing slash": ("evil/", "a component that is ''"),
    "empty": ("", "an empty name"),
    "two dots": ("..", "a component that is '..'"),
    "zero byte": ("evil\0.txt", "a control character"),
    "half a surrogate": ("\ud800", "half of a surrogate pair"),
    "UNC": ("\\\\host\\share\\evil", "a backslash"),
    "stream of NTFS": ("CON:stream", "a device's name on Windows"),
    "drive": ("C:/evil", "the letter of a drive"),
    "very long": ("n" * 60_000, "longer than 1024 bytes"),
    "our map": (".rgt-partial/map.jsonl", "unfinished files live"),
    "a list": (["evil"], "not UTF-8"),
    "a number": (7, "not UTF-8"),
    "nothing": (None, "not UTF-8"),
    "twice": ("good", "collides with good"),
    "inside a file": ("good/evil", "collides with good"),
    "by case": ("GOOD", "collides"),
}


@pytest.mark.parametrize("name", NAMES)
async def test_a_listed_name_that_leads_elsewhere_is_named_and_never_used(home: Home, name: str) -> None:
    path, reason = NAMES[name]
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(bend_list=named(path))
    with anyio.fail_after(DEADLINE_S):
        receipt = await home.pull()
    assert set(home.arrived().values()) <= {b"good"}
    assert {"good", "GOOD"} >= set(home.arrived()) >= {entry.path for entry in receipt.manifest.entries}
    assert any(reason in entry.reason for entry in receipt.skipped), receipt.skipped
    assert all(entry.path.isprintable() and len(entry.path) <= 200 for entry in receipt.skipped)


@pytest.mark.parametrize(
    ("inode", "names"),
    [("1:2", 3), ("x" * 1000, 3), (7, 3), ("1:2", "many"), ("1:2", -3), ("1:2", 1 << 80), (None, None)],
)
async def test_a_lie_about_the_names_of_a_file_is_told_at_most_and_changes_nothing(
    home: Home, inode: object, names: object
) -> None:
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(bend_list=good(inode=inode, nlink=names))
    receipt = await home.pull()
    assert home.arrived() == {"good": b"good"}
    told = [entry.reason for entry in receipt.not_copied if "another name" in entry.reason]
    assert len(told) == (inode == "1:2" and isinstance(names, int) and names > 1)
    assert all(len(reason) < 300 for reason in told)


@dataclass(frozen=True)
class Lie:
    """A list that no honest machine sends, and the refusal that it meets."""

    bend: Bend
    error: type[RgtError] = RemoteCommandFailed
    says: str = ""


LIES: dict[str, Lie] = {
    "negative size": Lie(good(size=-1), says="no kind, size or time"),
    "size beyond all": Lie(good(size=1 << 70), says="no kind, size or time"),
    "size of a quintillion": Lie(good(size=10**18), LimitExceeded, "the policy allows"),
    "half a byte": Lie(good(size=0.5), says="no kind, size or time"),
    "a size that is true": Lie(good(size=True), says="no kind, size or time"),
    "a size in words": Lie(good(size="4"), says="no kind, size or time"),
    "no size": Lie(good(size=None), says="no kind, size or time"),
    "no time": Lie(good(mtime_ns=None), says="no kind, size or time"),
    "time beyond all": Lie(good(mtime_ns=-(1 << 80)), says="no kind, size or time"),
    "an unknown kind": Lie(good(kind="door"), says="no kind, size or time"),
    "a kind that is a list": Lie(good(kind=["file"]), says="no kind, size or time"),
    "a digest in capitals": Lie(good(sha256="A" * 64), says="no sha256"),
    "a digest that is none": Lie(good(sha256="../evil"), says="no sha256"),
    "a sum that does not fit": Lie(tail(digest="0" * 64), says="does not fit"),
    "a count that does not fit": Lie(tail(entries=99), says="does not fit"),
    "cut in a line": Lie(lambda honest: [honest[:-9]], says="ends early"),
    "cut between lines": Lie(lines(lambda all_: all_[:-1]), says="ends early"),
    "empty": Lie(raw(), says="ends early"),
    "two headers": Lie(lines(lambda all_: [all_[0], *all_]), says="nobody expects"),
    "a root that nobody asked for": Lie(lines(lambda all_: [*all_, *all_]), says="nobody expects"),
    "entries before the header": Lie(lines(lambda all_: all_[1:]), says="before a header"),
    "another version": Lie(lines(lambda all_: [b'{"rgt_manifest": 2}', *all_[1:]]), says="nobody expects"),
    "no JSON": Lie(raw(b"\x7fELF\x02\x01\x01\n"), says="no JSON"),
    "no object": Lie(raw(b"[1]\n"), says="no object"),
    "a shell's greeting": Lie(lambda honest: [b"Welcome!\n", honest], says="no JSON"),
    "JSON without a floor": Lie(raw(b"[" * 60_000 + b"\n"), says="no JSON"),
    "a number of 60,000 digits": Lie(raw(b"9" * 60_000 + b"\n"), says="no JSON"),
    "not UTF-8": Lie(raw(b'{"path": "\xff"}\n'), says="no JSON"),
    "a line without end": Lie(endless(b"x" * (1 << 16)), says="a line without end"),
    "entries without end": Lie(entries_without_end, LimitExceeded, "the policy allows 300 files"),
    "errors without end": Lie(errors_without_end, LimitExceeded, "more than 500 entries"),
    "a root that cannot be listed": Lie(
        relisted(lambda entries: [{"path": ".", "error": "\x1b[2Jno\n"}]), InvalidRequest, "cannot be listed"
    ),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_malformed_or_impossible_list_is_refused_before_the_first_byte(home: Home, name: str) -> None:
    lie = LIES[name]
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(bend_list=lie.bend)
    with anyio.fail_after(DEADLINE_S), pytest.raises(lie.error, match=lie.says) as raised:
        await home.pull()
    assert "Nothing was" in str(raised.value)
    assert str(raised.value).isprintable()
    assert not home.home.exists() or home.arrived() == {}


async def test_a_promise_of_other_sizes_or_times_than_the_files_have_copies_nothing_of_them(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    for wrong in ({"size": 3}, {"size": 9_999_999}, {"mtime_ns": 5}):
        home.stranger.manners = Manners(bend_list=good(**wrong))
        with anyio.fail_after(DEADLINE_S):
            receipt = await home.pull()
        assert [entry.path for entry in receipt.skipped] == ["good"]
        assert home.arrived() == {}
        assert receipt.manifest.entries == ()


async def test_a_false_digest_in_the_list_never_becomes_the_proof(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(bend_list=good(sha256="0" * 64))
    receipt = await home.pull()
    assert receipt.manifest.entries[0].sha256 == "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"


async def test_a_list_that_names_other_files_each_time_ends_and_says_what_is_not_there(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    turns = itertools.count()
    home.stranger.manners = Manners(
        bend_list=relisted(lambda entries: [*entries, {**entries[0], "path": f"ghost{next(turns)}"}])
    )
    with anyio.fail_after(DEADLINE_S):
        receipt = await home.pull()
    assert home.arrived() == {"good": b"good"}
    assert {entry.path[:5] for entry in receipt.skipped} == {"ghost"}


def flipped(at: int) -> Bend:
    """One bit of the stream turned."""

    def bend(honest: bytes) -> Iterable[bytes]:
        if not honest:  # what was started to send and was asked for nothing
            return []
        where = at % len(honest)
        return [honest[:where], bytes([honest[where] ^ 1]), honest[where + 1 :]]

    return bend


def refusals(reason: bytes, length: int | None = None) -> Bend:
    size = len(reason) if length is None else length
    return raw(b"".join(struct.pack(">IBQ", number, 1, size) + reason for number in range(2)))


SENT: dict[str, Bend] = {
    "nothing": raw(),
    "less than promised": lambda honest: [honest[:-40]],
    "one byte less": lambda honest: [honest[:-1]],
    "one byte more": lambda honest: [honest + b"\0"],
    "an answer that nobody asked for": lambda honest: [honest, honest],
    "only the second answer": lambda honest: [honest[len(honest) // 2 :]],
    "a bit of the first header": flipped(3),
    "a bit of the first status": flipped(4),
    "a bit of the first length": flipped(12),
    "a bit of the content": flipped(14),
    "a bit of a digest": flipped(-3),
    "a message of the day": lambda honest: [b"Welcome to the machine\n" + honest],
    "noise": raw(random.Random(7).randbytes(100_000)),
    "zeros without end": endless(bytes(1 << 16)),
    "right, then zeros without end": endless(bytes(1 << 16), first=1 << 30),
    "a reason without end": refusals(b"no", 1 << 60),
    "a long reason": refusals(b"x" * 10_000),
    "a length beyond all": raw(struct.pack(">IBQ", 0, 0, 2**64 - 1)),
}


@pytest.mark.parametrize("name", SENT)
async def test_a_stream_that_is_not_what_was_asked_for_is_refused_and_names_no_file_whole(
    home: Home, name: str
) -> None:
    for file in ("one", "two"):
        (home.out / file).write_bytes(file.encode() * 20)
    home.stranger.manners = Manners(bend_sent=SENT[name])
    with anyio.fail_after(DEADLINE_S), pytest.raises(TransferError, match="something else than was asked") as raised:
        await home.pull()
    assert "No finished file was touched" in str(raised.value)
    assert set(home.arrived().items()) <= {("one", b"one" * 20), ("two", b"two" * 20)}


@pytest.mark.parametrize("size", [90, 3 << 20], ids=["small", "large"])
async def test_a_damaged_copy_takes_the_place_of_no_older_one(home: Home, size: int) -> None:
    home.home.mkdir()
    (home.home / "f").write_bytes(b"older")
    (home.out / "f").write_bytes(b"n" * size)
    home.stranger.manners = Manners(bend_sent=flipped(20))
    with anyio.fail_after(DEADLINE_S), pytest.raises(TransferError):
        await home.pull()
    assert home.arrived() == {"f": b"older"}


async def test_refusals_in_a_strangers_words_are_shown_harmless(home: Home) -> None:
    for name in ("one", "two"):
        (home.out / name).write_bytes(name.encode())
    home.stranger.manners = Manners(bend_sent=refusals(b"\x1b[2J\x1b]0;Approve the destroy\x07\xff"))
    receipt = await home.pull()
    assert home.arrived() == {}
    assert [entry.path for entry in receipt.skipped] == ["one", "two"]
    assert all(entry.reason.isprintable() for entry in receipt.skipped)


async def test_a_right_answer_from_a_program_that_failed_is_not_trusted_to_be_all(home: Home) -> None:
    (home.out / "good").write_bytes(b"good")
    home.stranger.manners = Manners(status=1)
    with anyio.fail_after(DEADLINE_S), pytest.raises(RemoteCommandFailed):
        await home.pull()
