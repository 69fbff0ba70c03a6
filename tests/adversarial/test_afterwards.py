"""After the yes: a DELETE without an answer, another account's key, a token used before, a no taken back, a restart."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError

from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.emulator.service import Emulator
from remote_gpu_trainer.services.lookup import find_run
from remote_gpu_trainer.vastai.keys import AGENT_PERMISSIONS
from tests.adversarial.relay import Relay, pass_all
from tests.adversarial.scene import NOT_DESTROYED, Scene
from tests.stage import Stage, on_stage
from tests.unit.services.consent.later import later
from tests.unit.services.consent.person import agree, asked

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]

DELETE = "DELETE /api/v0/instances/*"


@asynccontextmanager
async def another(
    scene: Scene, folder: Path, name: str, *, policy: str = "", env: dict[str, str] | None = None
) -> AsyncGenerator[tuple[Stage, Scene]]:
    """A run of its own on the same market, proven like the other."""
    async with on_stage(folder, market=scene.market, policy=scene.policy + policy, env=env) as stage:
        run, instance_id, copy = await stage.proven(name)
        yield stage, replace(scene, folder=folder, run=run, instance_id=instance_id, copy=copy)


@pytest.fixture(scope="module")
async def once(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A run whose machine nobody may touch, for tests that end with it still there."""
    async with another(scene, tmp_path_factory.mktemp("once"), "kept") as (_, proven):
        return proven


@pytest.fixture
def kept(once: Scene, tmp_path: Path) -> Scene:
    """The same run with a home of its own, in which nothing has happened since its results were proven."""
    shutil.copytree(once.folder / "home", tmp_path / "home")
    return replace(once, folder=tmp_path)


def no_fault(scene: Scene) -> None:
    scene.market.control.request("DELETE", "/faults", json={}).raise_for_status()


def deletes(scene: Scene) -> int:
    """How many DELETEs passed since the fault that counts them was armed; it is disarmed."""
    [counted] = scene.market.look("/faults")["armed"]
    no_fault(scene)
    return counted["hits"]


async def test_a_delete_that_hangs_and_was_done_is_resumed_by_looking_and_not_sent_again(
    scene: Scene, tmp_path: Path
) -> None:
    async with another(scene, tmp_path, "hangs") as (stage, mine):
        request = await asked(stage, mine.run)
        handed = {"target": mine.run, "approval_id": request.id, "token": agree(stage, request)}
        scene.market.do("/faults", route=DELETE, kind="slow", delay_s=8)
        with pytest.raises(MCPError, match=r"[Tt]imed out"):
            await stage.client.call_tool("destroy", handed, read_timeout_seconds=2)
        assert not mine.there()
        scene.market.do("/faults", route=DELETE, kind="slow", delay_s=0, count=1000)

        async with later(stage, minutes=5) as restarted:
            done = await restarted.call("destroy", target=mine.run)

    assert done["destroyed"] and done["confirmed"] and deletes(scene) == 0


async def test_a_delete_that_hangs_and_was_not_done_is_sent_once_more_after_a_look(
    scene: Scene, tmp_path: Path
) -> None:
    async with another(scene, tmp_path, "stuck") as (stage, mine):
        request = await asked(stage, mine.run)
        token = agree(stage, request)
        scene.market.do("/faults", route=DELETE, kind="timeout", delay_s=1)
        unsure = await stage.call("destroy", target=mine.run, approval_id=request.id, token=token)
        assert not unsure["destroyed"] and not unsure["confirmed"] and mine.there()
        assert "may still bill" in unsure["note"] and "looks first" in unsure["note"]
        scene.market.do("/faults", route=DELETE, kind="slow", delay_s=0, count=1000)

        done = await stage.call("destroy", target=mine.run)

    assert done["destroyed"] and done["confirmed"] and deletes(scene) == 1 and not mine.there()


async def test_another_accounts_key_while_a_destroy_is_confirmed_is_never_taken_for_gone(
    scene: Scene, tmp_path: Path
) -> None:
    with (
        Emulator(tmp_path / "other", speed=200, ssh="none", seed=8) as other,
        Relay(scene.market.ready) as relay,
    ):
        assert other.account_id != scene.market.ready.account_id
        async with another(scene, tmp_path, "switched", env={"VAST_URL": relay.url}) as (stage, mine):
            request = await asked(stage, mine.run)
            token = agree(stage, request)

            def switch(method: str) -> bool:
                # The DELETE is swallowed, and from then on another account answers, whole and without the instance.
                if method == "DELETE":
                    relay.behind = other
                return method == "DELETE"

            relay.before = switch
            unsure = await stage.call("destroy", target=mine.run, approval_id=request.id, token=token)
            told = await stage.refused("destroy", target=mine.run)
            unread = [event.data["code"] for event in stage.services.journal.events(mine.lease, kind="absence.unread")]

            assert not unsure["destroyed"] and not unsure["confirmed"] and "receipt_path" not in unsure
            assert "does not say what became of it" in told and "Nothing was sent" in told and mine.there(), told
            assert len(unread) > 2 and set(unread) == {"auth_failed"}
            assert find_run(stage.services.journal, mine.run).phase.value == "destroying"

            relay.before, relay.behind = pass_all, scene.market.ready
            done = await stage.call("destroy", target=mine.run)
    assert done["confirmed"] and not mine.there()


async def test_a_used_token_destroys_no_second_time_where_the_platform_refused_the_first(kept: Scene, era: str) -> None:
    async with kept.door(era) as door:
        request = await door.ask()
        token = kept.mint(request)
        kept.market.do("/faults", route=DELETE, kind="rate-limit", count=50)
        refused = await door.destroy(approval_id=request.id, token=token)
        no_fault(kept)
        assert "The consent is used up" in refused and kept.there(), refused
        kept.market.do("/faults", route=DELETE, kind="slow", delay_s=0, count=1000)

        again = await door.destroy(approval_id=request.id, token=token)
        async with kept.door(era) as restarted:
            once_more = await restarted.destroy(approval_id=request.id, token=token)

    assert all("its token was used already" in told and NOT_DESTROYED in told for told in (again, once_more))
    assert deletes(kept) == 0 and kept.there()


def row_of(scene: Scene, request: ApprovalRequest) -> dict[str, Any]:
    names = ("state", "decided_at", "channel", "assurance", "reason", "token_salt", "token_hash")
    row = scene.read(f"SELECT {', '.join(names)} FROM approvals WHERE id = ?", request.id)  # noqa: S608 - our names
    return dict(zip(names, row, strict=True))


def put_back(scene: Scene, request: ApprovalRequest, row: dict[str, Any]) -> None:
    """The row as it was; what the events tell of it stays."""
    marks = ", ".join(f"{name} = ?" for name in row)
    scene.intrude(f"UPDATE approvals SET {marks} WHERE id = ?", *row.values(), request.id)  # noqa: S608 - our names


def forget_the_end(scene: Scene, request: ApprovalRequest) -> None:
    """Take away what the append-only events tell of a no."""
    scene.intrude(
        "DELETE FROM events WHERE kind = 'approval.declined' AND json_extract(data, '$.approval') = ?", request.id
    )


@pytest.mark.parametrize("ended", ["declined", "spent"])
async def test_a_yes_that_is_put_back_by_hand_after_its_end_destroys_nothing(kept: Scene, era: str, ended: str) -> None:
    async with kept.door(era) as door:
        request = await door.ask()
        token = kept.mint(request)
        row = row_of(kept, request)
        if ended == "declined":
            door.services.approvals.decline(request.id, channel=Channel.TERMINAL, reason="not tonight")
        else:
            kept.market.do("/faults", route=DELETE, kind="rate-limit", count=50)
            await door.destroy(approval_id=request.id, token=token)
            no_fault(kept)
        put_back(kept, request, row)

        told = await door.destroy(approval_id=request.id, token=token)

    assert f"its row says approved and the journal that it was {ended}" in told and NOT_DESTROYED in told, told
    assert kept.there()


async def taken_back(
    stage: Stage, scene: Scene, assurance: AssuranceLevel = AssuranceLevel.PERSON
) -> tuple[ApprovalRequest, str]:
    """A question that was agreed to and then declined, and of which row and events now tell the yes alone."""
    request = await asked(stage, scene.run)
    token = agree(stage, request, assurance)
    row = row_of(scene, request)
    stage.services.approvals.decline(request.id, channel=Channel.TERMINAL, reason="not tonight")
    put_back(scene, request, row)
    forget_the_end(scene, request)
    return request, token


async def test_whoever_rewrites_the_row_and_its_events_takes_a_no_back_at_level_person(
    scene: Scene, tmp_path: Path
) -> None:
    """The limit that references/approvals.md states: nothing in a file tells that the whole of it is an older one."""
    async with another(scene, tmp_path, "rewritten") as (stage, mine):
        request, token = await taken_back(stage, mine)

        done = await stage.call("destroy", target=mine.run, approval_id=request.id, token=token)

    assert done["destroyed"] and not mine.there()


async def test_the_same_rewriting_destroys_nothing_where_the_servers_key_cannot(kept: Scene) -> None:
    env = {"VAST_API_KEY": kept.market.do("/keys", name="agent", permissions=dict(AGENT_PERMISSIONS))["key"]}
    policy = kept.policy + 'approval_level = "sealed"\n'
    async with on_stage(kept.folder, market=kept.market, policy=policy, env=env) as stage:
        # A sealed token never leaves the person's terminal; say it did.
        request, token = await taken_back(stage, kept, AssuranceLevel.SEALED)

        told = await stage.refused("destroy", target=kept.run, approval_id=request.id, token=token)

    assert "[permission_missing]" in told and NOT_DESTROYED in told, told
    assert kept.there()


RESUMING_JOB = """import json, os, time
os.makedirs("/workspace/out", exist_ok=True)
for step in range(100000):
    boots = len(os.listdir("/workspace/out"))
    with open("/workspace/out/.draft", "w") as file:
        json.dump({"step": step, "loss": 0.5}, file)
    os.rename("/workspace/out/.draft", "/workspace/out/checkpoint-%d.json" % boots)
    time.sleep(3600)
"""


async def test_a_job_that_resumes_by_itself_after_the_yes_keeps_its_machine(scene: Scene, tmp_path: Path) -> None:
    async with on_stage(tmp_path, market=scene.market, policy=scene.policy) as stage:
        run, instance_id = await stage.rent("resumes")
        await stage.started(run, RESUMING_JOB)
        out = Path(scene.market.look(f"/instances/{instance_id}")["order"]["root"]) / "workspace" / "out"
        await until_there(out / "checkpoint-0.json")
        await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
        copy = await stage.call("copy_out", target=run, acknowledge=["VAST33"])
        assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
        request = await asked(stage, run)
        token = agree(stage, request)

        assert scene.market.state(instance_id, "running").status_code == 200  # somebody, in the console
        await until_there(out / "checkpoint-1.json")
        told = await stage.refused("destroy", target=run, approval_id=request.id, token=token)
        again = await stage.refused("destroy", target=run)

        assert "[plan_changed]" in told and "started again" in told and NOT_DESTROYED in told, told
        assert "[consent_required]" not in again and stage.there(instance_id), again


async def until_there(file: Path) -> None:
    for _ in range(1000):
        if await anyio.Path(file).exists():
            return
        await anyio.sleep(0.02)
    raise AssertionError(f"{file.name} was never written")
