"""What would be sent, and what looks like a credential in it."""

import gc
import os
import tracemalloc
from pathlib import Path

import pytest

from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.transfer.cargo import Cargo
from remote_gpu_trainer.transfer.push import survey
from remote_gpu_trainer.transfer.survey import LocalFile, LocalFiles, gather

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gH3j"


def test_names_and_texts_with_credentials_are_told_by_place_and_kind_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "train.py").write_text(f"import os\nlogin('{TOKEN}')\n")
    (tmp_path / "wide.txt").write_text(TOKEN, encoding="utf-16")
    found = survey(tmp_path)
    assert set(found.secrets) == {
        (".env", "credential-file"),
        ("train.py line 2", "hugging-face-token"),
        ("wide.txt line 1", "hugging-face-token"),
    }
    assert TOKEN not in found.model_dump_json()


def test_the_end_of_a_long_text_is_searched_as_well(tmp_path: Path) -> None:
    (tmp_path / "long.log").write_text(("-" * 4000 + "\n") * 2500 + TOKEN + "\n")
    assert [kind for _, kind in survey(tmp_path).secrets] == ["hugging-face-token"]


def test_files_are_listed_with_their_sizes_and_links_out_are_named(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").write_bytes(b"12")
    (tmp_path / "p" / "out").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "p" / "pipe")
    found = survey(tmp_path / "p")
    assert (found.files, found.bytes, found.scripts) == (1, 2, ())
    assert [entry.path for entry in found.skipped] == ["out", "pipe"]


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Nothing was sent"):
        survey(tmp_path / "nowhere")


def test_files_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("a/b", "a.b", "a0", "a/0/c", "b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    files, _ = gather(tmp_path)
    assert [file.path for file in files] == sorted(file.path for file in files)
    assert [file.place for file in files if file.path == "a/link"] == [tmp_path.resolve() / "b"]
    assert [file.path for file in files[1:3]] == ["a/0/c", "a/b"]


def test_scripts_are_told_apart_from_what_is_only_counted(tmp_path: Path) -> None:
    for name, content in (("run.sh", b"echo\r\n"), ("train.py", b"x"), ("data.bin", bytes(7))):
        (tmp_path / name).write_bytes(content)
    found = survey(tmp_path)
    assert (found.files, found.bytes, found.scripts) == (3, 14, (("run.sh", 6), ("train.py", 1)))


def test_a_file_that_is_sent_takes_some_hundred_bytes_at_most() -> None:
    count, top = 20_000, Path("/nowhere")
    paths = [f"shard-{number % 100:02}/sample-{number:07}.bin" for number in range(count)]
    given = [LocalFile(path, top / path, 7, executable=False) for path in paths]
    gc.collect()
    tracemalloc.start()
    try:
        files = LocalFiles(top)
        for file in given:
            files.append(file)
        given.clear()
        cargo = Cargo(files)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / count < 150
    assert files[7] == LocalFile(paths[7], top / paths[7], 7, executable=False)
    assert sum(1 for _ in cargo.open_ones()) == cargo.count() == count
