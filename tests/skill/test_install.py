"""`rgt skill`: one self-contained folder where an agent looks for it, whole or not at all."""

from pathlib import Path

import pytest
import skills_ref
from typer.testing import CliRunner

from remote_gpu_trainer.cli.app import app

NAME = "remote-gpu-trainer"
PARTS = ("SKILL.md", "evals/evals.json", "profiles/vastai.md", "references/lifecycle.md", "scripts/verify_local.py")


def rgt(*words: str, home: Path) -> str:
    ended = CliRunner().invoke(app, list(words), env={"HOME": str(home)}, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output.strip()


@pytest.mark.parametrize(("target", "place"), [("claude", ".claude/skills"), ("codex", ".codex/skills")])
def test_an_agent_is_named_and_its_folder_is_found(tmp_path: Path, target: str, place: str) -> None:
    told = rgt("skill", "install", "--target", target, home=tmp_path)

    folder = tmp_path / place / NAME
    assert Path(told) == folder
    assert all((folder / part).is_file() for part in PARTS)
    assert skills_ref.validate(folder) == []


def test_any_folder_will_do_and_an_older_skill_there_is_replaced(tmp_path: Path) -> None:
    rgt("skill", "install", "--target", str(tmp_path / "skills"), home=tmp_path)
    stale = tmp_path / "skills" / NAME / "stale.md"
    stale.write_text("old", encoding="utf-8")

    rgt("skill", "install", "--target", str(tmp_path / "skills"), home=tmp_path)

    assert not stale.exists()
    assert sorted(one.name for one in (tmp_path / "skills").iterdir()) == [NAME]


def test_build_writes_the_same_folder(tmp_path: Path) -> None:
    rgt("skill", "build", "--out", str(tmp_path / "dist"), home=tmp_path)

    assert skills_ref.validate(tmp_path / "dist" / NAME) == []


def test_something_else_of_that_name_is_not_touched(tmp_path: Path) -> None:
    other = tmp_path / "skills" / NAME
    other.mkdir(parents=True)
    (other / "mine.txt").write_text("keep", encoding="utf-8")

    ended = CliRunner().invoke(app, ["skill", "install", "--target", str(tmp_path / "skills")])

    assert ended.exit_code != 0
    assert (other / "mine.txt").read_text(encoding="utf-8") == "keep"
