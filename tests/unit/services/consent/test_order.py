"""The order of a teardown: equal fingerprints around the copy, stop, ask, look again, spend, delete, two absences."""

import json
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.receipt import receipt_public_key, verify_receipt
from remote_gpu_trainer.domain.plans import MachineState, TeardownPlan
from tests.stage import Stage, on_stage
from tests.unit.services.consent.person import agree, asked

pytestmark = pytest.mark.anyio


def kept(receipt: Path) -> tuple[bytes, str]:
    return receipt.read_bytes(), receipt.with_suffix(".html").read_text(encoding="utf-8")


async def test_a_teardown_keeps_its_order_and_leaves_a_signed_receipt_with_a_page(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("ordered")

    request = await asked(stage, run)

    plan = request.plan
    assert isinstance(plan, TeardownPlan)
    assert [one.moment for one in plan.fingerprints] == ["before-copy", "after-copy", "before-stop"]
    assert len({one.digest for one in plan.fingerprints}) == 1
    assert plan.machine_state is MachineState.STOPPED and plan.stopped_at is not None
    assert plan.stopped_at <= request.requested_at
    assert stage.market.look(f"/instances/{instance_id}")["phase"] == "stopped"
    assert plan.evidence[0].report_digest is not None
    assert plan.policy_digest == stage.services.settings.policy.digest

    done = await stage.call("destroy", target=run, approval_id=request.id, token=agree(stage, request))

    assert done["destroyed"] and done["confirmed"] and not stage.there(instance_id)
    signed, page = kept(Path(done["receipt"]))
    receipt = verify_receipt(signed, public_key=receipt_public_key(stage.services.settings.home))
    assert receipt.plan == plan and len(receipt.absences) == 2
    assert "Destroyed: " in page
    kinds = [event.kind for event in stage.services.journal.events(plan.lease)]
    order = ["far-side", "asked.stop", "approval.requested", "approval.approved", "approval.spent", "intent.opened"]
    places = [len(kinds) - 1 - kinds[::-1].index(kind) for kind in order]
    assert places == sorted(places), kinds


async def test_a_machine_that_was_started_again_and_stopped_is_not_the_approved_one(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("restarted")
    request = await asked(stage, run)
    token = agree(stage, request)
    await stage.call("resume_run", target=run, method="restart")
    await stage.running(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])

    refusal = await stage.refused("destroy", target=run, approval_id=request.id, token=token)

    assert "The instance was not destroyed" in refusal
    assert "started again" in refusal or "holds something else" in refusal
    assert stage.there(instance_id)
    known = stage.services.approvals.get(request.id)
    assert known is not None and known.state == "void"
    # Running once more, it is read, and holds just what was copied: so it can be asked about again.
    await stage.call("resume_run", target=run, method="restart")
    await stage.running(run)
    request = await asked(stage, run)
    done = await stage.call("destroy", target=run, approval_id=request.id, token=agree(stage, request))
    assert done["destroyed"]


async def test_a_copy_during_which_files_changed_supports_no_teardown(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("moved")
    lease = stage.services.journal.leases()[0].lease.id
    copy = stage.services.journal.copies(lease)[0]
    far = next(e for e in stage.services.journal.events(lease, kind="far-side"))
    stage.services.journal.record("far-side", lease, {**far.data, "copy_id": copy.copy_id, "before": "0" * 64})

    refusal = await stage.refused("destroy", target=run)

    assert "VAST2" in refusal and "something else than what was copied" in refusal, refusal
    assert stage.there(instance_id)


async def test_the_gpu_is_kept_where_the_policy_wants_it_and_the_plan_says_so(tmp_path: Path) -> None:
    async with on_stage(tmp_path, policy="stop_before_asking = false\n") as kept:
        run, instance_id, _ = await kept.proven("keeps")
        request = await asked(kept, run)
        plan = request.plan
        assert isinstance(plan, TeardownPlan)
        assert plan.machine_state is MachineState.RUNNING
        assert plan.kept_running is not None and "stop_before_asking" in plan.kept_running
        assert kept.market.look(f"/instances/{instance_id}")["phase"] == "running"
        assert json.dumps(plan.kept_running)[1:20] in json.dumps(await kept.refused("destroy", target=run))
