"""Which Python of a machine runs what is sent there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from remote_gpu_trainer.transfer.farpython import find, python


def program(place: Path, says: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f'#!/bin/sh\necho {says} "$@"\n')
    place.chmod(0o755)


def runs(usr: Path, path: Path, **environment: str) -> str:
    """What answers on a machine with these folders."""
    command = [shutil.which("sh") or "/bin/sh", "-c", find(str(usr)), "sh", "-c", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, env={"PATH": str(path), **environment})
    return done.stdout.strip() or f"{done.returncode}: {done.stderr.strip()}"


@pytest.fixture
def usr(tmp_path: Path) -> Path:
    """A system with a whole Python of its own; in PATH stands another one."""
    program(tmp_path / "usr" / "bin" / "python3.10", "own")
    (tmp_path / "usr" / "lib" / "python3.10" / "concurrent").mkdir(parents=True)
    program(tmp_path / "path" / "python3", "shim")
    return tmp_path / "usr"


def test_the_systems_own_python_runs_it_apart_from_what_is_installed_into_it(usr: Path, tmp_path: Path) -> None:
    assert runs(usr, tmp_path / "path") == "own -I -S -c 1"


@pytest.mark.parametrize("name", ["python3.6", "python3.7", "python3.10-config", "python3"])
def test_one_that_is_too_old_or_no_interpreter_is_passed_over(tmp_path: Path, name: str) -> None:
    program(tmp_path / "usr" / "bin" / name, "own")
    (tmp_path / "usr" / "lib" / name / "concurrent").mkdir(parents=True)
    program(tmp_path / "path" / "python3", "shim")
    assert runs(tmp_path / "usr", tmp_path / "path") == "shim -c 1"


def test_one_without_its_library_is_passed_over(usr: Path, tmp_path: Path) -> None:
    (usr / "lib" / "python3.10" / "concurrent").rmdir()
    assert runs(usr, tmp_path / "path") == "shim -c 1"


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME"])
def test_where_the_environment_is_another_ones_that_one_runs_it(usr: Path, tmp_path: Path, name: str) -> None:
    assert runs(usr, tmp_path / "path", **{name: "/opt/modules"}) == "shim -c 1"


def test_a_machine_without_python_says_so(tmp_path: Path) -> None:
    assert runs(tmp_path / "usr", tmp_path) == "127: no python on this machine"


def test_here_it_runs_what_the_far_programs_import() -> None:
    done = subprocess.run(python("-c", "import concurrent.futures, hashlib, json, zlib; print(1)"), capture_output=True)
    assert done.stdout == b"1\n"
