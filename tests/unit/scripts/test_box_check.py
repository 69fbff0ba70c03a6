"""The boot check asks the box's own programs; what it cannot tell is null."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "box_check.py"
SMI = """#!/bin/sh
case "$*" in
  *--query-gpu*) printf '4\\n9216\\n' ;;
  *) echo '| NVIDIA-SMI 550.54   Driver Version: 550.54   CUDA Version: 12.4 |' ;;
esac
"""


def box(tmp_path: Path, *, smi: str | None = SMI, torch: str | None = None) -> dict[str, str]:
    """An environment with these programs and modules."""
    programs, modules = tmp_path / "bin", tmp_path / "modules"
    programs.mkdir()
    modules.mkdir()
    if smi is not None:
        (programs / "nvidia-smi").write_text(smi, encoding="utf-8")
        (programs / "nvidia-smi").chmod(0o755)
    if torch is not None:
        (modules / "torch.py").write_text(torch, encoding="utf-8")
    return {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(modules), "LC_ALL": "C.UTF-8"}


def asked(env: dict[str, str], *words: str) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), *words]
    return json.loads(subprocess.run(command, env=env, capture_output=True, check=True, timeout=50).stdout)


def torch_for(cuda: str | None, sees: bool) -> str:
    return f"""class version:
    cuda = {cuda!r}
class cuda:
    @staticmethod
    def is_available():
        return {sees}
"""


def test_the_driver_and_the_framework_are_asked_apart(tmp_path: Path) -> None:
    told = asked(box(tmp_path, torch=torch_for("12.8", False)), "--room", str(tmp_path))

    assert told["gpus"] == 2
    assert told["driver_cuda"] == 12.4
    assert told["framework_cuda"] == 12.8
    assert told["framework_sees_gpu"] is False
    assert told["vram_used_bytes"] == 9216 << 20
    assert told["free_bytes"] > 0


def test_a_cpu_build_has_no_cuda_and_sees_nothing(tmp_path: Path) -> None:
    told = asked(box(tmp_path, torch=torch_for(None, False)))

    assert (told["framework_cuda"], told["framework_sees_gpu"]) == (None, False)


@pytest.mark.parametrize("torch", ["raise ImportError('libcuda')", "import os; os._exit(3)", "print('[')"])
def test_a_framework_that_does_not_load_is_unknown(tmp_path: Path, torch: str) -> None:
    told = asked(box(tmp_path, torch=torch))

    assert (told["framework_cuda"], told["framework_sees_gpu"]) == (None, None)


def test_a_box_without_the_driver_s_program_has_an_unknown_number_of_gpus(tmp_path: Path) -> None:
    told = asked(box(tmp_path, smi=None, torch=torch_for("12.4", True)))

    assert (told["gpus"], told["driver_cuda"]) == (None, None)


def test_the_room_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    told = asked(box(tmp_path), "--room", str(tmp_path / "a" / "b"), "--room-only")

    disk = os.statvfs(tmp_path)
    assert 0 < told["free_bytes"] <= disk.f_blocks * disk.f_frsize
    assert "gpus" not in told
