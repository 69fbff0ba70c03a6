"""Every command that the README names is run, or at least understood by the program that it starts."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.emulator.service import Emulator
from tests.stage import QUIET
from tests.tools.test_tool_list import NAMES
from tests.unit.emulator.renter import Renter

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "make demo": "tests/scenarios/demo runs what it calls",
    "make test": "runs this",
    "pip install .": "the Makefile installs the checkout",
    "rgt preapprove --lease RUN --when verified:LOADS --off-box --idle 30m": "a run and a terminal: test_standing.py",
}
"""Commands whose proof is another one."""
STARTS = {"emulator": (3, ["VAST_URL", "VAST_API_KEY"]), "watch": (2, ["watching", "no run is held"])}
"""Commands that go on until they are ended: how many lines they begin with, and what is in them."""


def blocks(language: str) -> list[str]:
    return [body for found, body in _BLOCK.findall(README) if found == language]


def commands() -> list[str]:
    lines = (line.split("#", 1)[0].strip() for body in blocks("sh") for line in body.splitlines())
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renter]:
    folder = tmp_path_factory.mktemp("market")
    with Emulator(folder, speed=60, ssh="none", without=QUIET) as ready, Renter(ready) as renter:
        yield renter


@pytest.fixture
def env(tmp_path: Path, market: Renter) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "RGT_HOME": str(tmp_path / "rgt"),
        "VAST_URL": market.ready.url,
        "VAST_API_KEY": market.ready.api_key,
    }


@pytest.mark.parametrize("command", [one for one in commands() if one not in ELSEWHERE])
def test_a_command_of_the_readme_does_what_it_says(command: str, env: dict[str, str], tmp_path: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "rgt", f"{command!r} is neither ours nor listed as proven elsewhere"
    program = [sys.executable, "-m", "remote_gpu_trainer", *words[1:]]
    if "--port" in program:
        program[program.index("--port") + 1] = "0"  # the README's port may be taken where tests run side by side
    if words[1] in STARTS:
        _starts(program, env, tmp_path, *STARTS[words[1]])
        return

    ended = subprocess.run(program, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=55)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.strip()


def _starts(program: list[str], env: dict[str, str], folder: Path, lines: int, wanted: list[str]) -> None:
    with subprocess.Popen(program, env=env, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.terminate()
        process.wait(30)
    assert all(any(word in line for line in said) for word in wanted), said


def test_the_two_commands_are_there_and_the_makefile_knows_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in commands()
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_client_configuration_is_one(env: dict[str, str]) -> None:
    (body,) = blocks("json")

    servers = cast(dict[str, Any], json.loads(body))["mcpServers"]

    assert servers["remote-gpu-trainer"]["command"] == "rgt"
    assert servers["remote-gpu-trainer"]["args"] == ["serve"]
    ended = subprocess.run(
        [sys.executable, "-m", "remote_gpu_trainer", "serve"], env=env, stdin=subprocess.DEVNULL, timeout=55
    )
    assert ended.returncode == 0


def test_the_policy_shown_is_a_policy() -> None:
    (body,) = blocks("toml")

    assert Policy.model_validate(tomllib.loads(body)).max_usd_per_run == 5


def test_every_tool_is_told_and_no_other() -> None:
    assert set(re.findall(r"^\| `([a-z_]+)` \|", README, re.MULTILINE)) == NAMES


def test_every_link_to_a_file_resolves() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
