"""Every way to a destroy but the one that a person opened ends in a refusal, and the instance lives on."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from tests.stage import Stage, on_stage

pytestmark = pytest.mark.anyio
POLICY = "stop_before_asking = false\nmax_instances = 5\n"
MADE_UP = "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG"


@dataclass(frozen=True)
class Proven:
    """A run whose results are home and proven."""

    stage: Stage
    run: str
    instance_id: int
    results: Path

    async def plan(self) -> ApprovalId:
        """Ask for the plan, as a client that cannot ask its person."""
        told = await self.stage.refused("destroy", target=self.run)
        named = re.search(r"rgt approve (ap-[a-z0-9]+)", told)
        assert named is not None, told
        return ApprovalId(named[1])

    def approve(self, approval: ApprovalId) -> str:
        """What `rgt approve` does once the person has typed the name."""
        return self.stage.services.approvals.approve(
            approval, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON
        )

    async def attempt(self, approval: ApprovalId, token: str) -> str:
        """A destroy that has to be refused while the instance lives on."""
        told = await self.stage.refused("destroy", target=self.run, approval_id=approval, token=token)
        assert "The instance was not destroyed" in told
        assert self.stage.there(self.instance_id)
        return told

    def forget(self, approval: ApprovalId) -> None:
        """Close an approval that a test leaves unused."""
        self.stage.services.approvals.void(approval, "not used by the test that opened it")


@pytest.fixture(scope="module")
async def proven(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Proven]:
    async with on_stage(
        tmp_path_factory.mktemp("stage"), policy="stop_before_asking = false\nmax_instances = 5\n"
    ) as stage:
        run, instance_id, results = await stage.proven()
        yield Proven(stage, run, instance_id, results)


async def test_without_a_token_the_plan_comes_back_with_the_step_for_the_person(proven: Proven) -> None:
    told = await proven.stage.refused("destroy", target=proven.run)

    assert "[consent_required]" in told
    assert "rgt approve" in told
    assert "result.json" in told
    assert "The instance was not destroyed" in told
    assert proven.stage.there(proven.instance_id)


async def test_a_made_up_token_is_refused(proven: Proven) -> None:
    assert "[token_rejected]" in await proven.attempt(await proven.plan(), MADE_UP)


async def test_a_token_for_another_request_is_refused(proven: Proven) -> None:
    approval = await proven.plan()
    token = proven.approve(approval)

    other = ApprovalId(approval[:-1] + ("y" if approval[-1] == "x" else "x"))

    assert "[token_rejected]" in await proven.attempt(other, token)
    proven.forget(approval)


async def test_half_of_the_pair_is_refused_before_anything_is_looked_at(proven: Proven) -> None:
    told = await proven.stage.refused("destroy", target=proven.run, token=MADE_UP)

    assert "approval_id and token belong together" in told
    assert proven.stage.there(proven.instance_id)


async def test_an_altered_local_file_voids_the_consent(proven: Proven) -> None:
    approval = await proven.plan()
    token = proven.approve(approval)
    file = next(proven.results.rglob("result.json"))
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"7", b"8"))
    try:
        told = await proven.attempt(approval, token)
    finally:
        file.write_bytes(whole)

    assert "[plan_changed]" in told
    assert "result.json" in told


async def test_a_changed_remote_file_voids_the_consent(proven: Proven) -> None:
    stage = proven.stage
    copy = await stage.call("copy_out", target=proven.run)
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    approval = await proven.plan()
    token = proven.approve(approval)
    root = Path(stage.market.look(f"/instances/{proven.instance_id}")["order"]["root"])
    newer = root / "workspace" / "out" / "checkpoint-8.json"
    newer.write_text('{"step": 8}')
    try:
        told = await proven.attempt(approval, token)
        again = await stage.refused("destroy", target=proven.run)
    finally:
        newer.unlink()

    assert "[plan_changed]" in told
    assert "The instance was not destroyed" in again
    assert "[consent_required]" not in again
    assert stage.there(proven.instance_id)


async def test_a_job_that_runs_forbids_the_teardown(proven: Proven) -> None:
    stage = proven.stage
    run, instance_id = await stage.rent("busy")
    await stage.started(run, "import time\ntime.sleep(600)\n")

    told = await stage.refused("destroy", target=run)

    assert "The instance was not destroyed" in told
    assert stage.there(instance_id)


async def test_an_expired_token_is_refused(proven: Proven) -> None:
    approval = await proven.plan()
    token = proven.approve(approval)
    proven.stage.clock.pass_by(timedelta(minutes=16))

    told = await proven.attempt(approval, token)

    assert "[token_rejected]" in told
    assert "expired" in told


async def test_a_token_for_another_run_is_refused(proven: Proven) -> None:
    approval = await proven.plan()
    token = proven.approve(approval)
    other, other_id = await proven.stage.rent("other")

    told = await proven.stage.refused("destroy", target=other, approval_id=approval, token=token)

    assert "[token_rejected]" in told
    assert f"another plan than the teardown of {other}" in told
    assert proven.stage.there(other_id) and proven.stage.there(proven.instance_id)
    proven.forget(approval)


async def test_after_a_yes_the_model_is_told_that_the_person_holds_the_token(proven: Proven) -> None:
    approval = await proven.plan()
    proven.approve(approval)

    told = await proven.stage.refused("destroy", target=proven.run)

    assert "has agreed to this plan already" in told
    assert f"approval_id={approval}" in told
    assert "rgt approve" not in told
    assert proven.stage.there(proven.instance_id)
    proven.forget(approval)


async def test_a_used_token_is_refused(proven: Proven) -> None:
    stage = proven.stage
    ending = Proven(stage, *await stage.proven("ending"))
    approval = await ending.plan()
    token = ending.approve(approval)
    done = await stage.call("destroy", target=ending.run, approval_id=approval, token=token)
    assert done["destroyed"] and done["confirmed"]
    assert not stage.there(ending.instance_id)

    again = await stage.refused("destroy", target=ending.run, approval_id=approval, token=token)

    assert "[token_rejected]" in again
