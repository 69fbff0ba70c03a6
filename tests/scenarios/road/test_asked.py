"""A yes in the client is used at once, or it is none: nobody holds a token of it for later."""

import anyio
import pytest

from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, Channel
from remote_gpu_trainer.errors import RgtError
from tests.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_yes_that_could_not_be_used_at_once_is_asked_for_again(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("asked")
    teardown, book = stage.services.teardown, stage.services.approvals
    asked = await teardown.advance(run)
    assert isinstance(asked, ApprovalRequest)
    stage.market.do("/faults", route="GET /api/*", kind="auth", count=100)
    try:
        with pytest.raises(RgtError):
            await teardown.agreed(run, asked.id, Channel.ELICITATION)
    finally:
        stage.market.control.request("DELETE", "/faults")

    again = await teardown.advance(run)

    known = book.get(asked.id)
    assert known is not None and known.state is ApprovalState.VOID
    assert isinstance(again, ApprovalRequest) and again.id != asked.id and again.state is ApprovalState.OPEN
    assert stage.there(instance_id)
    assert (await teardown.agreed(run, again.id, Channel.ELICITATION)).destroyed
    assert not stage.there(instance_id)


async def test_a_yes_whose_call_is_broken_off_is_asked_for_again(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("hurried")
    teardown, book = stage.services.teardown, stage.services.approvals
    asked = await teardown.advance(run)
    assert isinstance(asked, ApprovalRequest)
    stage.market.do("/faults", route="GET /api/v0/instances/*", kind="slow", delay_s=2)

    with anyio.move_on_after(0.3) as broken_off:
        await teardown.agreed(run, asked.id, Channel.ELICITATION)

    known = book.get(asked.id)
    assert broken_off.cancelled_caught and known is not None and known.state is ApprovalState.VOID
    assert stage.there(instance_id)
