"""Without a key, with a wrong one, against a dead address, with a bad file: one clear sentence each."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from remote_gpu_trainer.emulator.service import Emulator
from tests.preloaded import Preloaded, Said
from tests.unit.emulator.renter import Renter

Json = dict[str, Any]
Run = Callable[..., Said]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A fresh home, and nothing set."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RGT_HOME": str(tmp_path / "rgt")}


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    folder = tmp_path_factory.mktemp("preloaded")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "RGT_HOME": str(folder / "rgt"), "VAST_API_KEY": "f" * 64}
    made = Preloaded(("rgt", "remote_gpu_trainer.__main__"), [["serve"], ["policy", "check"]], env, folder)
    yield made
    made.close()


@pytest.fixture
def rgt(preloaded: Preloaded, env: dict[str, str]) -> Run:
    def run(*words: str, **more: str) -> Said:
        return preloaded.run(words, env=env | more)

    return run


@pytest.fixture
def started(env: dict[str, str]) -> Run:
    """As ``rgt``, started as a person's shell starts it."""

    def run(*words: str, **more: str) -> Said:
        command = [sys.executable, "-m", "remote_gpu_trainer", *words]
        ended = subprocess.run(
            command, env=env | more, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=55
        )
        return Said(ended.stdout, ended.stderr, ended.returncode)

    return run


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Renter]:
    with Emulator(tmp_path / "market", speed=0, ssh="none") as ready, Renter(ready) as renter:
        yield renter


def dead_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def told(said: Said) -> str:
    """The one sentence on standard error, of a command that failed as it should."""
    assert said.status == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1, said.err
    return said.err


@pytest.mark.parametrize("command", ["serve", "status", "spend", "reconcile"])
def test_without_a_key_the_two_places_for_one_are_named(rgt: Run, command: str) -> None:
    said = told(rgt(command))

    assert "[config_error]" in said
    assert "VAST_API_KEY" in said and "vast_api_key" in said
    assert "Nothing was asked of the platform" in said


@pytest.mark.parametrize("command", ["status", "spend", "reconcile"])
def test_a_wrong_key_is_told_as_one_though_the_platform_answers_404(rgt: Run, market: Renter, command: str) -> None:
    said = told(rgt(command, VAST_URL=market.ready.url, VAST_API_KEY="f" * 64))

    assert "[auth_failed]" in said
    assert "VAST_API_KEY" in said


def test_a_dead_address_is_told_with_the_address(started: Run, tmp_path: Path) -> None:
    url = dead_url()

    def ask(command: str) -> str:
        return told(started(command, VAST_URL=url, VAST_API_KEY="f" * 64, RGT_HOME=str(tmp_path / command)))

    with ThreadPoolExecutor() as pool:  # each tries again for some seconds, so they do so together
        for said in pool.map(ask, ["status", "spend", "reconcile"]):
            assert "[market_unreachable]" in said
            assert url in said


@pytest.mark.parametrize(
    ("policy", "seen", "command"),
    [
        ("max_usd_per_hour = 'cheap'", "max_usd_per_hour", "policy check"),
        ("max_usd_per_hour = 'cheap'", "max_usd_per_hour", "serve"),
        ("max_usd_per_hour = 'cheap'", "max_usd_per_hour", "status"),
        ("max_usd_per_hour = -1", "max_usd_per_hour", "policy check"),
        ("max_usd_per_houre = 1", "max_usd_per_houre", "policy check"),
        ("max_usd_per_hour = ", "policy.toml", "policy check"),
        ("waive = ['VAST999']", "VAST999", "status"),
        ("approval_level = 'nobody'", "approval_level", "serve"),
    ],
)
def test_a_bad_policy_stops_everything_and_names_the_line(
    rgt: Run, env: dict[str, str], policy: str, seen: str, command: str
) -> None:
    home = Path(env["RGT_HOME"])
    home.mkdir()
    (home / "policy.toml").write_text(policy)

    said = told(rgt(*command.split(), VAST_API_KEY="f" * 64))

    assert "[config_error]" in said
    assert seen in said


@pytest.mark.parametrize(("url", "seen"), [("console.vast.ai", "VAST_URL"), ("ftp://x", "VAST_URL")])
def test_an_address_that_is_none_is_told(rgt: Run, url: str, seen: str) -> None:
    assert seen in told(rgt("status", VAST_URL=url, VAST_API_KEY="f" * 64))


def test_a_home_that_is_a_file_is_told(rgt: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "RGT_HOME" in told(rgt("status", RGT_HOME=str(tmp_path / "file"), VAST_API_KEY="f" * 64))


def test_approving_what_is_not_there_is_told(rgt: Run) -> None:
    assert "Nothing was approved" in told(rgt("approve", "ap-nothing1"))


@pytest.mark.anyio
@pytest.mark.parametrize("case", ["wrong key", "dead address"])
async def test_a_tool_tells_the_model_what_the_command_tells_the_person(
    env: dict[str, str], market: Renter, case: str
) -> None:
    url = market.ready.url if case == "wrong key" else dead_url()
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "remote_gpu_trainer", "serve"],
        env=env | {"VAST_URL": url, "VAST_API_KEY": "f" * 64},
    )
    async with Client(server) as client:
        answer = await client.call_tool("search_offers", {"hours": 1, "disk_gib": 20})

    assert answer.is_error
    assert ("[auth_failed]" if case == "wrong key" else "[market_unreachable]") in str(answer.content)
    assert "Traceback" not in str(answer.content)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_serving_writes_nothing_but_protocol_on_standard_output(env: dict[str, str], market: Renter) -> None:
    hello: Json = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    listing: Json = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    said = [hello, {"jsonrpc": "2.0", "method": "notifications/initialized"}, listing]
    process = subprocess.Popen(
        [sys.executable, "-m", "remote_gpu_trainer", "serve"],
        env=env | {"VAST_URL": market.ready.url, "VAST_API_KEY": "f" * 64},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("".join(json.dumps(one) + "\n" for one in said))
    process.stdin.flush()
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    rest, told_aside = process.communicate(timeout=30)

    assert {one["id"] for one in lines} == {1, 2}
    assert rest == ""
    assert "Traceback" not in told_aside
