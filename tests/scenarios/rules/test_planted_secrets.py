"""A secret in a careless call: it reaches neither the wire, nor the journal, a log, the box or an answer."""

import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mcp.types import TextContent

from remote_gpu_trainer.emulator.service import Emulator
from tests.scenarios.rules.conftest import ROOMY
from tests.scenarios.rules.plants import PLANTS, Plant
from tests.scenarios.rules.wiretap import Wiretap, wiretap
from tests.stage import QUIET, SPEED, Json, Stage, on_stage
from tests.unit.emulator.renter import Renter

pytestmark = pytest.mark.anyio
BY_NAME = 'odd "value" \\ of no known form: 7&é'
"""Held by the server; nothing but its value tells that it is a secret."""
ECHO = """import base64, json, os, urllib.parse
value = os.environ["HF_TOKEN"]
for form in (value, base64.b64encode(value.encode()).decode(), urllib.parse.quote(value, safe=""), json.dumps(value)):
    print("the token is", form, flush=True)
"""


@dataclass
class Scene:
    stage: Stage
    tap: Wiretap
    folder: Path
    run: str
    answers: list[str] = field(default_factory=list[str])

    async def play(self, plant: Plant) -> bool:
        """Make the careless call; whether it went through."""
        arguments = dict(plant.arguments)
        if plant.tool == "create_instance":
            wanted: Json = {"name": "careless", "image": "python:3.11-slim", "hours": 1, "disk_gib": 16}
            arguments = {**wanted, "offer_id": (await self.stage.offer())["offer_id"], **arguments}
        else:
            arguments["target"] = self.run
        if plant.files:
            source = self.folder / "planted" / f"{len(self.answers)}"
            for name, content in plant.files.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes(content)
            arguments["source"] = str(source)
        answer = await self.stage.client.call_tool(plant.tool, arguments, read_timeout_seconds=50)
        texts = [part.text for part in answer.content if isinstance(part, TextContent)]
        self.answers.append("\n".join([*texts, json.dumps(answer.structured_content)]))
        return not answer.is_error

    def places(self) -> dict[str, bytes]:
        """Everything that may have been reached: by name, its bytes."""
        kept = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for part in ("market", "home")
            for path in sorted((self.folder / part).rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
        state = json.dumps(self.stage.market.look("/state"), ensure_ascii=False).encode()
        return {**kept, "wire": bytes(self.tap.sent), "market": state, "answers": "\n".join(self.answers).encode()}


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Scene]:
    folder = tmp_path_factory.mktemp("planted")
    with Emulator(folder / "market", speed=SPEED, without=QUIET) as ready, Renter(ready) as market:
        async with wiretap(ready.url) as tap:
            env = {"VAST_URL": tap.url, "RGT_SECRET_HF_TOKEN": BY_NAME}
            async with on_stage(folder, policy=ROOMY, env=env, market=market) as stage:
                run, _ = await stage.rent("named", secret_env=["HF_TOKEN"])
                yield Scene(stage, tap, folder, run)


def found(places: dict[str, bytes], trace: str) -> list[str]:
    return [name for name, content in places.items() if trace.encode() in content]


def test_there_are_at_least_40_plants_each_with_a_value_of_its_own() -> None:
    assert len({plant.place for plant in PLANTS}) == len(PLANTS) >= 40
    assert len({plant.trace for plant in PLANTS}) == len(PLANTS)


async def test_no_planted_secret_is_found_anywhere_afterwards(
    scene: Scene, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    through = [plant.place for plant in PLANTS if await scene.play(plant)]

    assert through == []
    out, err = capfd.readouterr()
    places = {**scene.places(), "log": caplog.text.encode(), "stdout": out.encode(), "stderr": err.encode()}
    assert len(places["wire"]) > 10_000
    leaks = {plant.place: where for plant in PLANTS if (where := found(places, plant.trace))}
    assert leaks == {}


async def test_a_secret_by_name_reaches_the_box_and_no_text(scene: Scene) -> None:
    await scene.stage.started(scene.run, ECHO)
    await scene.stage.call("poll_status", target=scene.run, wait_s=30, until="finished")

    log = await scene.stage.call("read_logs", target=scene.run)

    assert log["text"].count("[redacted secret]") >= 4
    assert "the token is" in log["text"]
    assert BY_NAME not in json.dumps(log, ensure_ascii=False)
    journal = {name: content for name, content in scene.places().items() if name.startswith("home")}
    assert journal
    assert found(journal, BY_NAME) == []
    assert found(journal, "of no known form") == []
    orders = scene.stage.market.look("/instances")["instances"]
    assert BY_NAME in [dict(one["env"]).get("HF_TOKEN") for one in orders]
