"""A machine that cannot be read any more has its own plan: what will be lost, and what proof exists off the box."""

import pytest

from remote_gpu_trainer.domain.plans import MachineState, TeardownPlan
from tests.stage import Stage
from tests.unit.services.consent.person import agree, asked

pytestmark = pytest.mark.anyio


def lost_host(stage: Stage, instance_id: int) -> None:
    machine = stage.market.look(f"/instances/{instance_id}")["machine_id"]
    stage.market.do(f"/machines/{machine}", online=False)


async def test_a_lost_host_with_a_proven_copy_is_asked_about_plainly(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("gone")
    lost_host(stage, instance_id)

    request = await asked(stage, run)

    plan = request.plan
    assert isinstance(plan, TeardownPlan)
    assert plan.machine_state is MachineState.UNREADABLE and not plan.losses_complete and plan.evidence
    text = await stage.refused("destroy", target=run)
    assert "It cannot be read any more" in text and "nobody can say what else" in text
    done = await stage.call("destroy", target=run, approval_id=request.id, token=agree(stage, request))
    assert done["destroyed"] and not stage.there(instance_id)


async def test_a_lost_host_without_any_proof_says_that_nothing_is_saved(stage: Stage) -> None:
    run, instance_id = await stage.rent("unproven")
    await stage.trained(run)
    lost_host(stage, instance_id)

    request = await asked(stage, run)

    text = await stage.refused("destroy", target=run)
    assert "Nothing is saved off the machine" in text and "cannot be read any more" in text
    assert stage.there(instance_id)
    stage.services.approvals.void(request.id, "kept")
