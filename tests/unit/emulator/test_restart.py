"""The command: its one line of JSON, a kill without warning, and what the next start finds."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.__main__ import announce, main
from remote_gpu_trainer.emulator.box.isolation import prospect
from remote_gpu_trainer.emulator.server import listen
from remote_gpu_trainer.emulator.service import Ready
from tests.unit.emulator.renter import Renter


@contextmanager
def started(folder: Path, *more: str) -> Generator[tuple["subprocess.Popen[str]", Ready]]:
    """The emulator as a process of its own, ended hard if it is still there."""
    words = [sys.executable, "-m", "remote_gpu_trainer.emulator", "--port", "0", "--state", str(folder), "--json"]
    with subprocess.Popen(
        [*words, "--speed", "0", "--ssh", "none", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Ready(**json.loads(process.stdout.readline()))
        finally:
            process.kill()


def test_a_killed_emulator_finds_its_contracts_keys_and_meter_again(tmp_path: Path) -> None:
    with started(tmp_path, "--seed", "11") as (process, first), Renter(first) as person:
        person.do("/quirks", **{"reads-lag": False, "lively-market": False})
        running = person.running(person.bid(label="kept"))
        volume = person.api.post("/api/v0/volumes/search/", json={}).json()["offers"][0]
        person.api.put("/api/v0/volumes/", json={"id": volume["id"], "size": 10})
        person.wait(3600)
        spent = person.look("/meter")["total_pico"]
        loading = person.rent(label="young")
        process.kill()
    with started(tmp_path, "--seed", "99") as (process, second), Renter(second) as person:
        assert (second.api_key, second.control_token) == (first.api_key, first.control_token)
        assert person.look("/state")["seed"] == 11
        assert person.look("/meter")["total_pico"] == spent
        rows = {row["label"]: row for row in person.api.get("/api/v1/instances/").json()["instances"]}
        assert set(rows) == {"kept", "young"}
        assert rows["kept"]["actual_status"] in ("loading", "running")
        assert len(person.api.get("/api/v0/volumes").json()["volumes"]) == 1
        person.running(running)
        person.running(loading)
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_clock_goes_on_where_it_stood(tmp_path: Path) -> None:
    with started(tmp_path) as (_, ready), Renter(ready) as person:
        person.wait(1_000_000)
        then = person.look("/state")["now"]
    with started(tmp_path) as (_, ready), Renter(ready) as person:
        assert person.look("/state")["now"] >= then


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ssh", "paramiko", "--isolation", "none"), "none (as asked): plain folders"),
        (("--ssh", "paramiko"), prospect("auto")),
        (("--ssh", "none"), "no boxes"),
    ],
)
def test_how_boxes_are_kept_apart_is_said_at_the_start(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    with started(tmp_path, *words) as (_, ready):
        assert ready.isolation.startswith(said)


def test_a_person_is_told_the_same_in_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce(Ready("http://x", "key", 1, "http://x/_emulator", "token", "bubblewrap: own"), tmp_path, as_json=False)
    told = capsys.readouterr().out
    assert "export VAST_URL=http://x\n  export VAST_API_KEY=key\n" in told
    assert "Boxes are kept apart by: bubblewrap: own\n" in told


def test_an_address_beyond_loopback_is_refused() -> None:
    with pytest.raises(ValueError, match="serves loopback only"):
        listen(0, "0.0.0.0")  # noqa: S104  # the point of the test


def test_a_folder_to_keep_the_state_in_is_demanded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--port", "0"])
    assert left.value.code == 2
    assert "--state" in capsys.readouterr().err


def test_a_quirk_is_off_from_the_first_moment_and_a_name_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        started(tmp_path, "--without", "lively-market", "--without", "reads-lag") as (_, ready),
        Renter(ready) as person,
    ):
        assert person.look("/quirks")["reads-lag"]["on"] is False
        person.wait(40 * 3600)
        assert person.look("/strangers")["strangers"] == []
    with pytest.raises(SystemExit) as left:
        main(["--state", str(tmp_path), "--without", "lively"])
    assert left.value.code == 2
    assert "lively-market" in capsys.readouterr().err
