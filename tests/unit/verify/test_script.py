import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "verify_local.py"


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *(str(arg) for arg in args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)


def test_the_script_tells_proven_from_unproven_and_both_from_unjudged(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "r.json").write_text('{"loss": 1}')
    proven = run(folder, "--min-level", "LOADS", "--json")
    assert proven.returncode == 0
    assert json.loads(proven.stdout)["files"][0]["facts"]["kind"] == "object"
    (folder / "u.bin").write_bytes(b"u")
    assert run(folder, "--min-level", "LOADS").returncode == 1
    assert run(folder, "--min-level", "LOVELY").returncode == 2
    assert run(tmp_path / "none").returncode == 2


def test_the_script_holds_a_manifest_and_expectations(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "r.json").write_text('{"loss": 1}')
    entry = {"path": "r.json", "kind": "file", "size": 11, "mtime_ns": 0, "sha256": "0" * 64}
    (tmp_path / "manifest.json").write_text(json.dumps({"manifest": {"root": "/w", "entries": [entry]}}))
    (tmp_path / "expect.json").write_text(json.dumps({"min_step": 3}))
    lied = run(folder, "--manifest", tmp_path / "manifest.json")
    short = run(folder, "--expect", tmp_path / "expect.json")
    assert (lied.returncode, short.returncode) == (1, 1)
    assert "does not hold" in short.stdout
