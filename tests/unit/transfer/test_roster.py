"""The machine's list of files: asked for whole, and asked for again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remote_gpu_trainer.errors import RemoteCommandFailed
from remote_gpu_trainer.transfer.roster import Roster
from tests.unit.transfer.conftest import SCRIPT

HEAD = b'{"rgt_manifest": 1, "root": "/far", "started_at": 1.0}\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "far"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "out").write_bytes(b"one")
    (root / "out").mkdir()
    (root / "out" / "two").write_bytes(b"second")
    os.mkfifo(root / "pipe")
    return root


def listed(*arguments: str) -> bytes:
    command = [sys.executable, "-I", "-S", "-", *arguments]
    return subprocess.run(command, input=SCRIPT, stdout=subprocess.PIPE, check=True, timeout=30).stdout


def read(output: bytes, root: Path, earlier: Roster | None = None) -> Roster:
    roster = Roster([str(root)], max_entries=100, max_depth=8, earlier=earlier)
    roster.feed(output)
    roster.end()
    return roster


def test_a_list_that_is_still_the_same_is_not_sent_again(tree: Path) -> None:
    first = read(listed("--root", str(tree)), tree)

    again = listed("--root", str(tree), "--known", first.digests[0])

    assert again.count(b"\n") == 2
    assert read(again, tree, first).manifests == first.manifests


def test_a_list_that_changed_is_sent_whole(tree: Path) -> None:
    first = read(listed("--root", str(tree)), tree)
    (tree / "out" / "two").write_bytes(b"another")

    second = read(listed("--root", str(tree), "--known", first.digests[0]), tree, first)

    sizes = {entry.path: entry.size for entry in second.manifests[0].entries}
    assert sizes["out/two"] == 7
    assert sizes["folder/out"] == 3


def test_each_root_is_compared_with_its_own_earlier_list(tree: Path) -> None:
    roots = [str(tree / "folder"), str(tree / "out")]
    both = ["--root", roots[0], "--root", roots[1]]
    first = Roster(roots, max_entries=100, max_depth=8)
    first.feed(listed(*both))
    (tree / "out" / "three").write_bytes(b"3")

    second = Roster(roots, max_entries=100, max_depth=8, earlier=first)
    second.feed(listed(*both, "--known", first.digests[0], "--known", first.digests[1]))
    second.end()

    assert second.manifests[0] is first.manifests[0]
    assert [entry.path for entry in second.manifests[1].entries] == ["three", "two"]


def test_what_could_not_be_used_is_named_again_with_the_list_that_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "con").write_bytes(b"x")
    first = read(listed("--root", str(tmp_path)), tmp_path)

    second = read(listed("--root", str(tmp_path), "--known", first.digests[0]), tmp_path, first)

    assert second.skipped == first.skipped
    assert [entry.path for _, entry in second.skipped] == ["con"]


@pytest.mark.parametrize("known", [False, True])
def test_a_list_is_not_believed_to_be_known_when_it_is_not(tree: Path, known: bool) -> None:
    first = read(listed("--root", str(tree)), tree)
    lie = b'{"entries": 4, "truncated": false, "unchanged": true, "digest": "%s"}\n'

    with pytest.raises(RemoteCommandFailed, match="known"):
        read(HEAD + lie % (b"0" * 64 if known else first.digests[0].encode()), tree, first if known else None)


def test_entries_and_the_word_that_nothing_changed_do_not_go_together(tree: Path) -> None:
    first = read(listed("--root", str(tree)), tree)
    entry = b'{"path": "new", "kind": "file", "size": 1, "mtime_ns": 1}\n'
    trailer = b'{"entries": 1, "truncated": false, "unchanged": true, "digest": "%s"}\n'

    with pytest.raises(RemoteCommandFailed, match="known"):
        read(HEAD + entry + trailer % first.digests[0].encode(), tree, first)


def test_a_path_to_do_without_is_left_out_where_it_stands_and_nowhere_else(tree: Path) -> None:
    found = read(listed("--root", str(tree), "--without", str(tree / "out")), tree)

    assert [entry.path for entry in found.manifests[0].entries] == ["folder", "folder/out", "pipe"]


def test_what_follows_the_last_list_is_given_back(tree: Path) -> None:
    output, roster = listed("--root", str(tree)), Roster([str(tree)], max_entries=100, max_depth=8)

    given_back = b"".join(roster.feed(bytes([byte])) for byte in output + b"more\nand more")

    assert roster.whole
    assert given_back == b"more\nand more"
