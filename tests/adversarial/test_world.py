"""The person said yes, and then the machine, its platform, the copy or the key are not what they said yes to."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.domain.ids import ApprovalId
from tests.adversarial.scene import APPROVAL, NOT_DESTROYED, POLICY, Attempt, Door, HastyClock, Scene
from tests.stage import Json, Stage, on_stage

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]

KEEPS_RUNNING = POLICY + "stop_before_asking = false\n"

LINGERING_JOB = """import json, os, subprocess, sys
os.makedirs("/workspace/out", exist_ok=True)
with open("/workspace/out/result.json", "w") as file:
    json.dump({"step": 7, "loss": 0.5}, file)
later = '''import os, time
for _ in range(600):
    if os.path.exists("/workspace/.go"):
        time.sleep(1)
        with open("/workspace/out/draft", "w") as file:
            file.write('{"step": 8, "loss": 0.25}')
        os.rename("/workspace/out/draft", "/workspace/out/checkpoint-8.json")
        break
    time.sleep(0.05)
'''
subprocess.Popen([sys.executable, "-c", later], start_new_session=True, stdin=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


def approved_then(change: Callable[[Scene], None], back: Callable[[Scene], None]) -> Attempt:
    """The person says yes, something changes, the model uses the token; afterwards all is as before."""

    async def attempt(scene: Scene, door: Door) -> str:
        request = await door.ask()
        token = scene.mint(request)
        change(scene)
        try:
            return await door.destroy(approval_id=request.id, token=token)
        finally:
            back(scene)

    return attempt


def flip(scene: Scene) -> None:
    file = next(scene.copy.rglob("result.json"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def hide(scene: Scene) -> None:
    scene.copy.rename(scene.copy.with_name("hidden"))


def show(scene: Scene) -> None:
    scene.copy.with_name("hidden").rename(scene.copy)


def relabel(label: str | None) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        wanted = f"rgt/{scene.run}" if label is None else label
        answer = scene.market.api.put(f"/api/v0/instances/{scene.instance_id}/", json={"label": wanted})
        assert answer.status_code == 200, answer.text

    return change


def fault(kind: str, route: str = "GET /api/v0/instances/*", **more: Any) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        scene.market.do("/faults", route=route, kind=kind, count=50, **more)

    return change


def no_fault(scene: Scene) -> None:
    scene.market.control.request("DELETE", "/faults", json={}).raise_for_status()


CHANGES: dict[str, tuple[Attempt, str]] = {
    "one bit of the copy is another": (approved_then(flip, flip), "local copy"),
    "the copy is gone": (approved_then(hide, show), "is not there any more"),
    "the label is another": (approved_then(relabel("rgt/other-aaaaaa"), relabel(None)), "label"),
    "the label is gone": (approved_then(relabel(""), relabel(None)), "label"),
    "the platform says the key is bad": (approved_then(fault("auth"), no_fault), "[auth_failed]"),
    "the platform answers an error": (approved_then(fault("error"), no_fault), "[server_fault]"),
    "the platform answers HTML": (approved_then(fault("garbage"), no_fault), "[unexpected_answer]"),
    "the platform's answer stops in the middle": (approved_then(fault("truncate"), no_fault), "["),
    "the platform hangs up": (approved_then(fault("lost-request"), no_fault), "["),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_what_is_not_as_approved_is_not_destroyed(scene: Scene, era: str, name: str) -> None:
    attempt, reason = CHANGES[name]
    async with scene.door(era, clock=HastyClock()) as door:
        told = await attempt(scene, door)

    assert reason in told, told
    assert "not destroyed" in told or "Nothing" in told, told
    assert scene.there()


@pytest.mark.parametrize(
    ("level", "told_level"), [("sealed", "level sealed"), ("hardware", "level hardware"), ("console", "level console")]
)
async def test_a_yes_below_the_level_of_the_policy_destroys_nothing(
    scene: Scene, era: str, level: str, told_level: str
) -> None:
    async with scene.door(era) as door:
        request = await door.ask()
        token = scene.mint(request)
    async with scene.door(era, policy=f'approval_level = "{level}"\n') as door:
        told = await door.destroy(approval_id=request.id, token=token)

    assert told_level in told and NOT_DESTROYED in told, told
    assert scene.there()


@pytest.fixture(scope="module")
async def alive(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[tuple[Stage, Scene]]:
    """A second run on the same market, whose machine goes on running while a person thinks."""
    folder = tmp_path_factory.mktemp("alive")
    async with on_stage(folder, policy=KEEPS_RUNNING, market=scene.market) as stage:
        run, instance_id = await stage.rent("alive")
        await stage.trained(run, LINGERING_JOB)
        copy = await stage.call("copy_out", target=run)
        proof = await stage.call("verify_local", copy_id=copy["copy_id"])
        assert proof["passed"], proof
        mine = replace(
            scene, folder=folder, run=run, instance_id=instance_id, copy=Path(copy["destination"]), policy=KEEPS_RUNNING
        )
        yield stage, mine
        assert mine.there()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await anyio.sleep(0.02)
    raise AssertionError("waited in vain")


async def test_a_checkpoint_that_is_written_one_second_after_the_yes_keeps_its_machine(
    alive: tuple[Stage, Scene], scene: Scene
) -> None:
    stage, mine = alive
    told = await stage.refused("destroy", target=mine.run)
    approval = ApprovalId(found[1]) if (found := APPROVAL.search(told)) else ApprovalId("")
    request = stage.services.approvals.get(approval)
    assert request is not None, told
    token = mine.mint(request)
    workspace = scene.folder / "market" / "boxes" / str(mine.instance_id) / "root" / "workspace"
    (workspace / ".go").touch()
    await until((workspace / "out" / "checkpoint-8.json").exists)

    told = await stage.refused("destroy", target=mine.run, approval_id=approval, token=token)

    assert "[plan_changed]" in told and "copy_out and verify_local again" in told, told
    assert NOT_DESTROYED in told and mine.there()
    assert "[plan_changed]" not in await stage.refused("destroy", target=mine.run)
    known = stage.services.approvals.get(approval)
    assert known is not None and known.state == "void"


async def test_an_instance_that_was_started_again_after_the_yes_lives(scene: Scene, era: str) -> None:
    async with scene.door(era) as door:
        request = await door.ask()
        token = scene.mint(request)
        assert scene.market.state(scene.instance_id, "running").status_code == 200
        await until(lambda: scene.market.look(f"/instances/{scene.instance_id}")["phase"] == "running")
        told = await door.destroy(approval_id=request.id, token=token)
        again = await door.destroy(approval_id=request.id, token=token)

    assert "[plan_changed]" in told and NOT_DESTROYED in told, told
    assert "it no longer holds" in again and NOT_DESTROYED in again, again
    assert scene.there()


SCOPED: Json = {"api": {"instance_read": {}, "user_read": {}, "misc": {}, "billing_read": {}, "instance_write": {
    "api.instance.update": {}, "api.instance.reboot": {}}}}  # fmt: skip


async def test_a_scoped_key_destroys_recycles_and_deletes_nothing_whoever_said_yes(scene: Scene, era: str) -> None:
    made = scene.market.do("/keys", name="scoped", permissions=SCOPED)
    bearer = {"Authorization": f"Bearer {made['key']}"}
    calls: list[tuple[str, str, Json]] = [
        ("DELETE", f"/api/v0/instances/{scene.instance_id}/", {}),
        ("DELETE", "/api/v0/instances/", {"instance_ids": [scene.instance_id]}),
        ("PUT", f"/api/v0/instances/recycle/{scene.instance_id}/", {}),
        ("DELETE", "/api/v0/volumes/", {"id": 1}),
    ]
    for method, path, body in calls:
        answer = scene.market.api.request(method, path, json=body, headers=bearer)
        assert answer.status_code == 401 and "does not have permission" in answer.text, answer.text
    scene.market.do("/keys", revoke=made["id"])
    assert scene.there()


async def test_a_crash_between_the_spent_token_and_the_delete_destroys_nothing_later(
    alive: tuple[Stage, Scene],
) -> None:
    stage, mine = alive
    copy = await stage.call("copy_out", target=mine.run)
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    clock = HastyClock()
    era = "2026-07-28"
    async with mine.door(era) as door:
        fresh = await door.ask()
    token = mine.mint(fresh)
    book = stage.services.approvals
    assert isinstance(book, SqliteApprovalBook)
    book.spend(fresh.id, token, plan_digest=fresh.plan_digest, lease=mine.lease, request={"instance": mine.instance_id})
    # Here the process dies. Another one starts after the consent has run out.
    clock.by = timedelta(minutes=20)
    async with mine.door(era, clock=clock) as door:
        await door.client.call_tool("poll_status", {}, read_timeout_seconds=50)
        await door.services.reconcile.reconcile()
        told = await door.destroy(approval_id=fresh.id, token=token)

    assert "not destroyed" in told, told
    assert mine.there()
