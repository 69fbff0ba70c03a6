"""The official MCP Inspector, in its command line mode, as a client of `rgt serve`: its pages are not installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.test_tool_list import NAMES

INSPECTOR = "@modelcontextprotocol/inspector-cli@0.15.0"
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("inspector")]


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is needed to install the official MCP Inspector")
    folder = tmp_path_factory.mktemp("inspector")
    words = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--no-save", INSPECTOR]
    installed = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=180)
    program = folder / "node_modules" / ".bin" / "mcp-inspector-cli"
    if installed.returncode != 0 or not program.exists():
        pytest.skip(f"the npm registry did not give the MCP Inspector: {installed.stderr[-200:]}")
    return program


def ask(inspector: Path, home: Path, *words: str) -> dict[str, Any]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "RGT_HOME": str(home / "rgt"),
        "VAST_URL": "http://127.0.0.1:9",
        "VAST_API_KEY": "f" * 64,
    }
    server = [sys.executable, "-m", "remote_gpu_trainer", "serve"]
    answer = subprocess.run(
        [str(inspector), "--cli", *server, *words], env=env, capture_output=True, text=True, timeout=55
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads(answer.stdout)


def test_it_lists_the_tools(inspector: Path, tmp_path: Path) -> None:
    listed = ask(inspector, tmp_path, "--method", "tools/list")

    assert {row["name"] for row in listed["tools"]} == NAMES


def test_it_reads_the_profile_and_lists_the_journeys(inspector: Path, tmp_path: Path) -> None:
    assert "profile://vastai" in json.dumps(ask(inspector, tmp_path, "--method", "resources/list"))
    assert ask(inspector, tmp_path, "--method", "prompts/list")["prompts"]
