import json
import re
import subprocess
import sys
from pathlib import Path

import remote_gpu_trainer.verify
from remote_gpu_trainer.tools.home import Expect
from remote_gpu_trainer.verify.registry import FORMATS

PAGE = Path(__file__).parents[3] / "references" / "verification.md"
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


def test_the_script_says_in_its_last_line_what_stands_in_the_way_and_cuts_no_name(tmp_path: Path) -> None:
    name = "a-name-that-is-much-wider-than-any-column-of-a-terminal-" * 2 + "step-000040.safetensors"
    (tmp_path / name).write_bytes(b"\x01")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    (tmp_path / "notes.txt").write_text("fine")
    told = run(tmp_path, "--min-level", "LOADS")
    assert told.returncode == 1
    assert told.stdout.splitlines()[-1] == (
        "NOT PROVEN: 1 errors, 2 files below LOADS; 3 files (1 LOADS, 2 DIGEST); 1 warnings to read."
    )
    column = "".join(line.split("\u2502")[1].strip() for line in told.stdout.splitlines() if line.startswith("\u2502"))
    assert name in column
    assert "truncated" in told.stdout
    (tmp_path / name).unlink()
    assert run(tmp_path).stdout.splitlines()[-1].startswith("Proven to DIGEST: 2 files (1 LOADS, 1 DIGEST)")


def test_a_program_reads_levels_by_name_and_why_nothing_was_judged(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    report = json.loads(run(tmp_path, "--json").stdout)
    assert (report["proven"], report["lowest_level"], report["files"][0]["level"]) == (True, "LOADS", "LOADS")
    unjudged = run(tmp_path / "none", "--json")
    assert unjudged.returncode == 2
    assert json.loads(unjudged.stdout)["proven"] is None


def test_without_the_package_nothing_is_judged_and_the_script_says_what_to_do() -> None:
    command = [sys.executable, "-I", "-S", str(SCRIPT), "."]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 2
    assert "is not installed for" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_part_of_the_search_path_imports_nothing_from_where_one_stands(tmp_path: Path) -> None:
    for module in ("json", "typing", "anyio", "typer", "numpy", "remote_gpu_trainer"):
        (tmp_path / f"{module}.py").write_text("open('canary', 'w')\n")
    (tmp_path / "m.csv").write_text("step\n1\n")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "."],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": ":/nowhere", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "canary").exists()


def test_what_is_installed_for_one_user_only_loads_as_well(tmp_path: Path) -> None:
    python = str(getattr(sys, "_base_executable", sys.executable))
    ask = subprocess.run(
        [python, "-c", "import site; print(site.getusersitepackages())"],
        capture_output=True, text=True, timeout=40, check=True, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    own = Path(ask.stdout.strip())
    own.mkdir(parents=True)
    places = [path for path in sys.path if "site-packages" in path]
    (own / "all.pth").write_text("\n".join([*places, str(Path(remote_gpu_trainer.verify.__path__[0]).parents[1])]))
    (tmp_path / "r.json").write_text("{}")
    command = [python, str(SCRIPT), str(tmp_path / "r.json"), "--min-level", "LOADS"]
    env = {"HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)


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


def test_the_page_that_explains_it_asks_in_words_that_the_script_and_the_tool_understand(tmp_path: Path) -> None:
    asked = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    assert set(asked) == {"copy_id", "expect"}
    Expect.model_validate(asked["expect"])
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "expect.json").write_text(json.dumps(asked["expect"]))
    done = run(home, "--expect", tmp_path / "expect.json")
    assert done.returncode == 1
    assert "missing: 'best.safetensors'" in done.stdout
    (tmp_path / "expect.json").write_text('{"min_level": "LOVELY"}')
    assert run(home, "--expect", tmp_path / "expect.json").returncode == 2


def test_the_page_that_explains_it_names_every_format_and_no_finding_that_nothing_makes() -> None:
    page = PAGE.read_text()
    table = page[page.index("## What each loader proves") : page.index("## Reading the findings")].lower()
    assert [entry.name for entry in FORMATS if entry.name not in table] == []
    source = "".join(path.read_text() for path in Path(remote_gpu_trainer.verify.__path__[0]).rglob("*.py"))
    named = re.findall(r"^- `([a-z-]+)`(?:, `([a-z-]+)`)*", page[page.index("## Reading the findings") :], re.MULTILINE)
    assert [code for codes in named for code in codes if code and f'"{code}"' not in source] == []
    assert len(named) >= 8
