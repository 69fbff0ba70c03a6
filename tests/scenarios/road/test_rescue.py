"""A machine that was stopped before anything came home: its disk is read over the machine's own rsync."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import anyio
import pytest

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel
from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import TeardownPlan
from tests.stage import Stage

pytestmark = pytest.mark.anyio


async def test_results_come_home_from_a_stopped_machine_and_are_proven(stage: Stage) -> None:
    run, instance_id = await stage.rent("rescue")
    await stage.trained(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])

    told = await stage.refused("copy_out", target=run)
    assert "VAST33" in told
    assert "does not tell its version" in told
    assert "acknowledge=['VAST33']" in told
    assert "Nothing was destroyed, and no finished file was replaced." in told
    assert not (await stage.call("poll_status", target=run))["runs"][0]["phase"] == "parked"

    copy = await stage.call("copy_out", target=run, acknowledge=["VAST33"])

    assert copy["route"].startswith("machine-rsync: the instance is ")
    assert [one["id"] for one in copy["findings"]] == ["VAST33"]
    assert json.loads((Path(copy["destination"]) / "result.json").read_text())["step"] == 7
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    assert stage.there(instance_id)


async def rescued(stage: Stage, run: str) -> Path:
    """Copy from the machine at rest, and prove it: where it lies."""
    copy = await stage.call("copy_out", target=run, acknowledge=["VAST33"])
    assert copy["route"].startswith("machine-rsync: ")
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    return Path(copy["destination"])


async def preempted(stage: Stage, name: str) -> tuple[str, int]:
    """A run whose results are on the disk of a machine that was taken away from it."""
    run, instance_id = await stage.rent(name, "interruptible")
    await stage.trained(run)
    stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05, for_s=1e6)
    row = (await stage.call("poll_status", target=run))["runs"][0]
    assert row["instance_phase"] == "preempted", row
    return run, instance_id


def disk_of(stage: Stage, instance_id: int) -> Path:
    """Where the results really lie."""
    return Path(stage.market.look(f"/instances/{instance_id}")["order"]["root"]) / "workspace" / "out"


def approved(stage: Stage, told: str) -> tuple[ApprovalId, str]:
    """The approval that a refused destroy named, and the token that its person was given."""
    named = re.search(r"rgt approve (ap-[a-z0-9]+)", told)
    assert named is not None, told
    approval = ApprovalId(named[1])
    level = AssuranceLevel.PERSON
    return approval, stage.services.approvals.approve(approval, channel=Channel.TERMINAL, assurance=level)


async def test_a_preempted_machine_is_destroyed_on_what_its_rsync_showed_and_a_person_agreed_to(stage: Stage) -> None:
    run, instance_id = await preempted(stage, "taken")
    await rescued(stage, run)

    told = await stage.refused("destroy", target=run)
    assert "[consent_required]" in told
    approval, token = approved(stage, told)
    asked = stage.services.approvals.get(approval)
    assert asked is not None
    assert isinstance(asked.plan, TeardownPlan)
    looks = [(look.moment, look.by, look.compared) for look in asked.plan.fingerprints]
    assert looks == [
        ("before-copy", Route.MACHINE_RSYNC, None),
        ("after-copy", Route.MACHINE_RSYNC, 1),
        ("before-consent", Route.MACHINE_RSYNC, None),
    ]
    shown = render(asked.plan)
    assert "by the machine's rsync, which tells sizes and whole seconds only" in shown
    assert "at rest all through the copy" in shown
    assert "1 copied file compared by rsync's md5" in shown

    await stage.call("destroy", target=run, approval_id=approval, token=token)
    assert not stage.there(instance_id)


async def test_a_disk_that_changed_after_the_approval_keeps_its_machine(stage: Stage) -> None:
    run, instance_id = await preempted(stage, "changed")
    await rescued(stage, run)
    approval, token = approved(stage, await stage.refused("destroy", target=run))
    (disk_of(stage, instance_id) / "checkpoint-8.json").write_text('{"step": 8}')

    told = await stage.refused("destroy", target=run, approval_id=approval, token=token)
    assert "[plan_changed]" in told
    assert "files on the machine changed" in told
    assert stage.there(instance_id)
    assert "VAST2" in await stage.refused("destroy", target=run)


async def test_a_disk_that_cannot_be_read_any_more_voids_the_consent(stage: Stage) -> None:
    run, instance_id = await preempted(stage, "unread")
    await rescued(stage, run)
    approval, token = approved(stage, await stage.refused("destroy", target=run))
    stage.market.do("/quirks", **{"stopped-copy-fails": True})
    try:
        told = await stage.refused("destroy", target=run, approval_id=approval, token=token)
    finally:
        stage.market.do("/quirks", **{"stopped-copy-fails": False})
    assert "[plan_changed]" in told
    assert "unreadable" in told
    assert stage.there(instance_id)


async def test_a_disk_that_ran_again_after_the_rescue_proves_nothing(stage: Stage) -> None:
    run, instance_id = await stage.rent("again")
    await stage.trained(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    await rescued(stage, run)
    await stage.call("resume_run", target=run)
    await stage.running(run)
    assert "VAST2" in await stage.refused("destroy", target=run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])

    assert "VAST2" in await stage.refused("destroy", target=run)
    assert stage.there(instance_id)


async def test_a_machine_that_came_back_by_itself_after_its_rescue_proves_nothing(stage: Stage) -> None:
    run, instance_id = await preempted(stage, "woke")
    await rescued(stage, run)
    stage.market.do(f"/instances/{instance_id}/restore")
    await stage.running(run)

    assert "VAST2" in await stage.refused("destroy", target=run)
    assert stage.there(instance_id)


async def test_a_disk_that_the_machine_does_not_serve_parks_the_run_and_names_the_way_on(stage: Stage) -> None:
    run, instance_id = await stage.rent("unserved")
    await stage.trained(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    stage.market.do("/quirks", **{"stopped-copy-fails": True})
    try:
        told = await stage.refused("copy_out", target=run, acknowledge=["VAST33"])
    finally:
        stage.market.do("/quirks", **{"stopped-copy-fails": False})
    assert "Unknown module" in told
    assert "resume_run" in told
    assert f"Run {run} is parked" in told
    assert stage.there(instance_id)


async def test_a_rescue_that_the_client_cancels_leaves_no_process_and_goes_on_later(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, instance_id = await preempted(stage, "cancelled")
    content = os.urandom(40 << 20)
    (disk_of(stage, instance_id) / "big").write_bytes(content)
    slow, real = tmp_path / "bin" / "rsync", shutil.which("rsync")
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *--partial*) exec {real} --bwlimit=1000 "$@";; *) exec {real} "$@";; esac\n'
    )
    slow.chmod(0o755)
    before = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{slow.parent}:{before}")
    begun = anyio.Event()

    async def told(progress: float, total: float | None, message: str | None) -> None:
        if progress > 0:
            begun.set()

    async def copy() -> None:
        arguments = {"target": run, "acknowledge": ["VAST33"]}
        await stage.client.call_tool("copy_out", arguments, progress_callback=told, read_timeout_seconds=50)

    with anyio.fail_after(40):
        async with anyio.create_task_group() as group:
            group.start_soon(copy)
            await begun.wait()
            group.cancel_scope.cancel()
        for _ in range(100):
            if not rescuing():
                break
            await anyio.sleep(0.1)
    assert rescuing() == []
    monkeypatch.setenv("PATH", before)
    home = await rescued(stage, run)
    assert (home / "big").read_bytes() == content
    assert stage.there(instance_id)


def rescuing() -> list[str]:
    """Command lines of what still fetches."""
    lines: list[str] = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            lines += [line] if "--bwlimit=1000" in line else []
    return lines
