"""The calls that a correct answer to each eval implies, played with the real tools against the emulator."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EVALS = Path(__file__).parents[2] / "skill" / "evals"


@pytest.mark.timeout(300)
def test_every_task_plays_out_as_it_says(tmp_path: Path) -> None:
    told = tmp_path / "rows.json"

    ended = subprocess.run(
        [sys.executable, str(EVALS / "run.py"), "--json", str(told)], capture_output=True, text=True, timeout=280
    )

    rows: list[dict[str, Any]] = json.loads(told.read_text(encoding="utf-8")) if told.exists() else []
    assert [row for row in rows if not row["passed"]] == [], ended.stderr[-2000:]
    assert ended.returncode == 0, ended.stderr[-2000:]
    tasks = json.loads((EVALS / "evals.json").read_text(encoding="utf-8"))["evals"]
    assert [row["id"] for row in rows] == [task["id"] for task in tasks]


def test_a_task_that_plays_out_otherwise_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_bytes((EVALS / "run.py").read_bytes())
    task: dict[str, Any] = {
        "id": 1,
        "prompt": "Search.",
        "never": [],
        "scene": "market",
        "calls": [{"tool": "poll_status", "args": {"target": "nobody"}, "ends": "ok", "says": []}],
    }
    (tmp_path / "evals.json").write_text(json.dumps({"evals": [task]}), encoding="utf-8")

    ended = subprocess.run([sys.executable, str(tmp_path / "run.py")], capture_output=True, text=True, timeout=50)

    assert ended.returncode == 1
    assert "poll_status was refused" in ended.stdout
