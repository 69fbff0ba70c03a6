"""Trees of a million entries: the same values as before, packed, and found again without a walk."""

import gc
import json
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.domain.artifacts import Manifest, digest_of
from remote_gpu_trainer.domain.entries import RUN, Entries, EntryKind, ManifestEntry, packed_hashes
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.errors import LimitExceeded
from remote_gpu_trainer.transfer import CopyLimits
from remote_gpu_trainer.transfer.crowd import Crowd
from remote_gpu_trainer.transfer.hardlinks import MOST_FOLLOWED, HardLinks
from remote_gpu_trainer.transfer.paths import TakenNames
from remote_gpu_trainer.transfer.plan import plan_files
from remote_gpu_trainer.transfer.roster import Roster
from remote_gpu_trainer.transfer.whereabouts import Whereabouts

LEASE = LeaseId("digits-k3vq7m")
LIMITS = CopyLimits(max_bytes=1 << 40, max_files=200_000, max_depth=16, keep_free_bytes=0)
ENTRIES = st.lists(
    st.builds(
        ManifestEntry,
        path=st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        kind=st.sampled_from(EntryKind),
        size=st.integers(0, 2**62),
        mtime_ns=st.integers(-(2**62), 2**62),
        sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
        unstable=st.booleans(),
        open_for_writing=st.booleans(),
    ),
    max_size=20,
)


def listing(count: int, size: int = 7) -> Iterator[bytes]:
    """What a machine says of so many files in 100 folders, without an end."""
    yield b'{"rgt_manifest": 1, "root": "/far", "started_at": 1.0}\n'
    for number in range(count):
        path = f"shard-{number * 100 // count:02d}/sample-{number:07d}.bin"
        entry = {"kind": "file", "mtime_ns": 1_785_000_000_123_456_789, "nlink": 1, "path": path, "size": size}
        yield json.dumps(entry, sort_keys=True).encode() + b"\n"


def files(*paths: str, size: int = 1) -> Manifest:
    return Manifest(
        root="/far",
        entries=tuple(ManifestEntry(path=path, kind=EntryKind.FILE, size=size, mtime_ns=1) for path in sorted(paths)),
    )


def planned(*paths: str, size: int = 1) -> Crowd:
    return plan_files([files(*paths, size=size)], [""], LEASE, LIMITS)[0]


@given(entries=ENTRIES)
def test_packed_entries_are_the_values_that_were_packed(entries: list[ManifestEntry]) -> None:
    packed = Entries.of(entries)
    assert packed == tuple(entries)
    assert [packed[at] for at in range(len(packed))] == entries
    assert packed[1:3] == entries[1:3]
    assert packed.by_path() == tuple(sorted(entries, key=lambda entry: entry.path))
    assert packed.only(EntryKind.FILE) == tuple(entry for entry in entries if entry.kind is EntryKind.FILE)
    assert packed.total() == sum(entry.size for entry in entries)
    assert hash(packed) == hash(tuple(entries))
    kept = array("I", range(len(entries) - 1, -1, -2))
    hashes = [bytes([at]) * 32 for at in range(len(kept))]
    proven = packed.hashed(kept, packed_hashes(hashes))
    asked = [entries[at].model_copy(update={"sha256": sha256.hex()}) for at, sha256 in zip(kept, hashes, strict=True)]
    assert proven == tuple(asked)
    assert proven.by_path() == tuple(sorted(asked, key=lambda entry: entry.path))


@given(entries=ENTRIES, root=st.sampled_from(["/workspace/out", "/ü \n\x7f"]), truncated=st.booleans())
def test_a_manifest_has_the_json_and_the_digests_that_it_always_had(
    entries: list[ManifestEntry], root: str, truncated: bool
) -> None:
    manifest = Manifest(root=root, entries=entries, truncated=truncated)
    plain = {
        "root": root,
        "entries": [entry.model_dump(mode="json") for entry in entries],
        "truncated": truncated,
    }
    assert manifest.model_dump(mode="json") == json.loads(manifest.model_dump_json()) == plain
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert manifest.digest == digest_of(plain)
    marks = [[entry.path, entry.kind.value, str(entry.size), str(entry.mtime_ns)] for entry in entries]
    assert manifest.fingerprint == digest_of(marks)


def test_more_entries_than_are_sorted_at_once_come_into_one_order_and_are_found() -> None:
    packed = Entries()
    paths = [f"{number * 7919 % (RUN + 9000):07d}" for number in range(RUN + 9000)]
    for path in paths:
        packed.append(path, EntryKind.FILE, 1, 1)
    ordered = packed.by_path()
    assert [ordered.path(at) for at in range(len(ordered))] == sorted(paths)
    assert [ordered.find(path) for path in ("0000000", "0050000", "none")] == [0, 50_000, None]


@pytest.mark.parametrize("number", [1 << 63, -(1 << 64)])
def test_a_number_that_no_column_holds_adds_no_half_a_row(number: int) -> None:
    packed = Entries()
    for size, mtime_ns in ((number, 1), (1, number)):
        with pytest.raises(OverflowError):
            packed.append("f", EntryKind.FILE, size, mtime_ns)
    packed.append("g", EntryKind.FILE, 2, 3)
    assert packed == (ManifestEntry(path="g", kind=EntryKind.FILE, size=2, mtime_ns=3),)


def test_numbers_are_found_by_their_texts() -> None:
    where, texts = Whereabouts(), [f"{number % 1700}" for number in range(5000)]
    for number, text in enumerate(texts):
        where.add(text, number)
    for start in range(1700):
        assert set(where.find(f"{start}")) >= set(range(start, 5000, 1700))
    assert len(list(where.find("none"))) <= 1
    with pytest.raises(OverflowError):
        where.add("", (1 << 30) - 1)


def test_ten_thousand_names_that_collide_are_each_named_with_what_they_collide_with() -> None:
    names = [f"{number}{case}" for number in range(5_000) for case in "aA"]
    taken = TakenNames(names.__getitem__)
    said = [taken.take(name, number) for number, name in enumerate(names)]
    assert said[::2] == [None] * 5_000
    assert said[1::2] == [f"collides with {number}a" for number in range(5_000)]


def test_a_list_and_its_plan_hold_no_object_for_each_file() -> None:
    count = 5_000
    roster = Roster(["/far"], max_entries=count, max_depth=8)
    before = len(gc.get_objects())
    roster.feed(b"".join(listing(count)))
    roster.feed(b'{"entries": %d, "truncated": false, "digest": "%s"}\n' % (count, roster.heard.encode()))
    roster.end()
    tasks, skipped = plan_files(roster.manifests, [""], LEASE, LIMITS)
    assert (len(tasks), skipped) == (count, [])
    assert sum(task.size for task in tasks) == tasks.total() == 7 * count
    assert len(gc.get_objects()) - before < count // 10


@pytest.mark.parametrize(
    ("limits", "seen"),
    [({"max_files": 300}, "301 files"), ({"max_bytes": 7 * 400}, "401 files with 2.7 KiB")],
)
def test_more_than_the_policy_allows_is_refused_while_it_is_listed(limits: dict[str, int], seen: str) -> None:
    within = LIMITS.model_copy(update=limits)
    roster = Roster(["/far"], max_entries=2000, max_depth=8, within=within)
    lines = listing(2000)
    with pytest.raises(LimitExceeded, match=rf"{seen}.*the policy allows {within.max_files:,} files.*Nothing was"):
        for line in lines:
            roster.feed(line)
    assert len(list(lines)) > 1500, "it was read to its end"


def test_a_list_whose_lines_are_all_of_the_longest_is_refused_before_it_fills_the_memory() -> None:
    roster = Roster(["/far"], max_entries=1000, max_depth=8)
    line = json.dumps({"path": "x" * 60_000, "kind": "file", "size": 1, "mtime_ns": 1}).encode() + b"\n"
    roster.feed(b'{"rgt_manifest": 1, "root": "/far", "started_at": 1.0}\n')
    with pytest.raises(LimitExceeded, match=r"of a list that may hold 1,000 entries.*Nothing was copied"):
        for _ in range(20):
            roster.feed(line)


def test_a_task_is_one_object_while_it_is_half_here_and_none_before_and_after() -> None:
    tasks = planned("a", "b", size=10)
    assert tasks[0] is not tasks[0]
    half = tasks[0]
    half.add(0, 4)
    assert tasks[0] is half
    assert tasks.bytes_missing() == 16
    half.add(4, 10)
    half.sha256 = "ab" * 32
    assert tasks[0] is not half
    assert tasks[0].sha256 == "ab" * 32
    assert [task.path for task in tasks.open_ones()] == ["b"]
    assert [(entry.path, entry.sha256) for entry in tasks.copied()] == [("a", "ab" * 32)]


def test_a_file_of_another_plan_is_found_near_or_far_and_can_take_a_place() -> None:
    tasks, fresh = planned("a", "b", "d"), planned("a", "c", "d", size=2)
    assert [fresh.find(path, near) for path, near in (("a", 0), ("d", 1), ("b", 1), ("a", 2))] == [0, 2, None, 0]
    tasks[2].failed = "no"
    tasks.restart(2, fresh, 2)
    added = tasks.take_in(fresh, 1)
    assert [(tasks.path(number), tasks.size(number)) for number in (2, added)] == [("d", 2), ("c", 2)]
    assert (tasks[2].open, tasks[2].failed) == (True, None)
    assert tasks.total() == 1 + 1 + 2 + 2


def test_of_more_shared_files_than_are_followed_the_rest_is_said_to_be_unknown() -> None:
    links = HardLinks()
    for number in range(MOST_FOLLOWED + 5):
        links.seen(f"/far/{number}", f"1:{number}", 2)
        if number != 3:
            links.seen(f"/far/again-{number}", f"1:{number}", 2)
    told = [(entry.path, entry.reason) for entry in links.outside()]
    assert [path for path, _ in told] == ["/far/3", "(10 more)"]
    assert "unknown" in told[1][1]
