"""The commands of the page about the emulator are run, in their order, by one who knows nothing but the page."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.emulator.cli import PROGRAM
from tests.unit.emulator.renter import Renter

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text()
LINES = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)
START = next(line for line in LINES if line.startswith("rgt emulator"))
TOLD = re.findall(r"`(?:POST )?\{control_url\}(/\w+) (\{.*?\})`", PAGE)


@contextmanager
def started(command: str, folder: Path) -> Generator[dict[str, Any]]:
    words = [sys.executable, "-m", "remote_gpu_trainer", *shlex.split(command.replace("DIR", str(folder)))[1:]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(30)


def test_the_page_names_the_commands_that_are_run_here() -> None:
    assert [shlex.split(line)[0] for line in LINES] == ["rgt", "export", "vastai", "vastai"]
    assert [path for path, _ in TOLD] == ["/quirks", "/faults"]


@pytest.mark.skipif(not PROGRAM.exists(), reason="the official vastai CLI is not installed here")
def test_a_stranger_follows_the_page_from_start_to_a_rented_instance(tmp_path: Path) -> None:
    with started(START, tmp_path / "state") as said:
        told = re.search(r"one line `\{(.*)\}` when ready", PAGE)
        assert told is not None
        assert set(said) == set(re.findall(r'"(\w+)"', told[1]))
        assert str(said["isolation"]).startswith(("bubblewrap", "unshare", "none ("))
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "VASTAI_NO_UPDATE_CHECK": "1"}
        export, search, create = LINES[1:]
        port = str(httpx.URL(said["url"]).port)
        pairs = shlex.split(export.replace("PORT", port).replace("...", said["api_key"]))[1:]
        env |= dict(pair.split("=", 1) for pair in pairs)
        assert (env["VAST_URL"], env["VAST_API_KEY"]) == (said["url"], said["api_key"])

        def vastai(line: str) -> Any:
            words = [str(PROGRAM), *shlex.split(line)[1:], "--raw"]
            return json.loads(subprocess.run(words, env=env, capture_output=True, timeout=40, check=True).stdout)

        offers = vastai(search)
        made = vastai(create.replace("OFFER", str(offers[0]["id"])))
        headers = {"Authorization": f"Bearer {said['control_token']}"}
        held = httpx.get(f"{said['control_url']}/instances/{made['new_contract']}", headers=headers, trust_env=False)
        assert (held.json()["ask_id"], held.json()["disk_gb"]) == (offers[0]["id"], 12)


def test_what_the_page_sends_to_the_control_surface_is_taken(renter: Renter) -> None:
    for path, body in TOLD:
        sent = json.loads(body.replace('"name"', '"reads-lag"'))
        assert renter.control.post(path, json=sent).status_code == 200
    (armed,) = renter.look("/faults")["armed"]
    assert (armed["method"], armed["path"], armed["kind"], armed["count"]) == (
        "PUT",
        "/api/v0/asks/*",
        "lost-response",
        1,
    )
