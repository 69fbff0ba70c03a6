"""What would be sent, and what looks like a credential in it."""

import os
from pathlib import Path

import pytest

from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.transfer.push import survey

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
    assert found.files == (("a", 2),)
    assert [entry.path for entry in found.skipped] == ["out", "pipe"]


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Nothing was sent"):
        survey(tmp_path / "nowhere")
