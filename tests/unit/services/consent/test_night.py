"""What was agreed beforehand ends a run by itself: once all holds, alone, and with nothing touched before."""

import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from remote_gpu_trainer.app import NIGHT_LOCK, compose
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.night import Night
from remote_gpu_trainer.services.rounds import only_one
from tests.stage import Stage, environment, on_stage
from tests.unit.services.consent.atterminal import preapprove
from tests.unit.services.consent.later import AheadClock, later

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    """One for each test: a clock that goes back between two of them would void what was agreed to."""
    async with on_stage(tmp_path) as standing:
        yield standing


async def agreed(stage: Stage, name: str, *more: str) -> tuple[str, int]:
    """A run whose results are proven, and whose end a person agreed to beforehand."""
    run, instance_id, _ = await stage.proven(name)
    assert (await preapprove(stage, run, *(more or ("--idle", "30m")))).status == 0
    return run, instance_id


async def round_of(stage: Stage, run: str) -> Night | None:
    """What one round finds about this run; None where it is not looked at."""
    return next((one for one in await stage.services.night.round() if one.run == run), None)


def untouched(stage: Stage, run: str, instance_id: int) -> bool:
    """The machine runs as it did, and nobody is asked anything about its end."""
    asked = [one for one in stage.services.approvals.open_requests() if one.plan.name == run]
    return stage.market.look(f"/instances/{instance_id}")["phase"] == "running" and not asked


def given(services: Services, run: str) -> list[ApprovalState]:
    """The states of all that was agreed to beforehand for this run."""
    events = [e for e in services.journal.events(kind="approval.requested") if e.data.get("action") == "preapprove"]
    found = [services.approvals.get(ApprovalId(str(one.data["approval"]))) for one in events]
    return [one.state for one in found if one is not None and one.plan.name == run]


async def test_a_run_ends_by_itself_once_it_is_idle_and_is_not_touched_before(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "dusk")

    early = await round_of(stage, run)

    assert early is not None and early.ended is None
    assert "idle for 0 of 30 minutes" in str(early) and untouched(stage, run, instance_id)
    async with later(stage, minutes=40) as night:
        (late,) = [one for one in await night.services.night.round() if one.run == run]
    assert late.ended is not None and late.ended.confirmed and not stage.there(instance_id)
    assert late.ended.receipt_path is not None and late.ended.receipt_path in str(late)
    assert given(stage.services, run) == [ApprovalState.SPENT]


async def test_without_a_yes_beforehand_nothing_is_looked_at(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("unasked")
    async with later(stage, minutes=40) as night:
        assert await round_of(night, run) is None
    assert untouched(stage, run, instance_id)


async def test_a_checkpoint_that_came_after_the_copy_keeps_a_running_machine(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "newer")
    root = Path(stage.market.look(f"/instances/{instance_id}")["order"]["root"])
    (root / "workspace" / "out" / "checkpoint-9.json").write_text('{"step": 9}')

    async with later(stage, minutes=40) as night:
        kept = await round_of(night, run)
        assert kept is not None and kept.ended is None
        assert untouched(night, run, instance_id) and given(night.services, run) == [ApprovalState.APPROVED]
        # The machine is not read again each minute: the next look has a pause before it.
        assert await round_of(night, run) is None
        night.clock.pass_by(timedelta(minutes=1))
        assert await round_of(night, run) is not None


async def test_a_platform_that_fails_for_a_while_costs_neither_the_machine_nor_the_yes(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "ailing")
    async with later(stage, minutes=40) as night:
        stage.market.do("/faults", route="GET /api/*", kind="error", status=503, count=50)
        kept = await round_of(night, run)
        assert kept is not None and kept.ended is None and stage.there(instance_id)
        assert stage.market.control.delete("/faults").status_code == 200
        night.clock.pass_by(timedelta(minutes=1))
        ended = await round_of(night, run)
    assert ended is not None and ended.ended is not None and not stage.there(instance_id)


async def test_a_delete_whose_answer_was_lost_is_settled_by_a_later_round(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "unheard")
    async with later(stage, minutes=40) as night:
        stage.market.do("/faults", route="DELETE /api/v0/instances/*", kind="lost-response", count=1)
        for _ in range(4):
            found = await round_of(night, run)
            if found is not None and found.ended is not None:
                break
            night.clock.pass_by(timedelta(minutes=4))
    record = stage.services.journal.lease(LeaseId(run))
    assert record is not None and record.phase == "closed" and not stage.there(instance_id)


async def test_two_servers_end_a_run_once(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "twins")
    found: list[Night | None] = []
    async with later(stage, minutes=40) as one, later(stage, minutes=40) as other:

        async def look(server: Stage) -> None:
            found.append(await round_of(server, run))

        async with anyio.create_task_group() as group:
            group.start_soon(look, one)
            group.start_soon(look, other)
    assert len([night for night in found if night is not None and night.ended is not None]) == 1
    assert given(stage.services, run) == [ApprovalState.SPENT] and not stage.there(instance_id)


async def test_while_another_process_is_at_it_nothing_is_looked_at(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "elsewhere")
    async with later(stage, minutes=40) as night:
        with only_one(stage.services.settings.home / NIGHT_LOCK) as alone:
            assert alone
            assert await night.services.night.round() == []
    assert untouched(stage, run, instance_id)


async def test_a_policy_that_was_raised_since_keeps_the_machine(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "raised")
    settings = stage.services.settings
    stricter = settings.policy.model_copy(update={"approval_level": AssuranceLevel.CONSOLE})
    services = compose(replace(settings, policy=stricter), clock=AheadClock(timedelta(minutes=40)))
    try:
        (kept,) = [one for one in await services.night.round() if one.run == run]
    finally:
        await services.aclose()
    assert "cannot be given beforehand" in str(kept) and untouched(stage, run, instance_id)


async def test_a_watch_tells_of_each_end_and_of_what_keeps_a_run_once(stage: Stage) -> None:
    run, instance_id = await agreed(stage, "told")
    heard: list[Night] = []
    # Each pause of this clock moves it on, so that thirty minutes are thirty rounds.
    services = compose(stage.services.settings, clock=AheadClock(timedelta()))
    try:
        with anyio.fail_after(50):
            async with anyio.create_task_group() as group:

                def hear(night: Night) -> None:
                    heard.extend([night] if night.run == run else [])
                    if night.ended is not None and night.run == run:
                        group.cancel_scope.cancel()

                await services.night.keep(hear)
    finally:
        await services.aclose()
    assert [one.ended is not None for one in heard] == [False, True] and not stage.there(instance_id)


@pytest.fixture
async def asleep(stage: Stage) -> AsyncGenerator[tuple[str, int]]:
    """A run whose end was agreed to without any idle time."""
    yield await agreed(stage, "asleep", "--idle", "0m")


async def test_a_server_that_is_only_left_running_acts_by_itself(stage: Stage, asleep: tuple[str, int]) -> None:
    _, instance_id = asleep
    command = [sys.executable, "-m", "remote_gpu_trainer", "serve"]
    async with await anyio.open_process(command, env=environment(stage.folder, stage.market)) as server:
        assert server.stdin is not None and server.stderr is not None
        with anyio.fail_after(40):
            told = ""
            while "ended as agreed to beforehand: " not in told:
                told += (await server.stderr.receive()).decode()
        await server.stdin.aclose()
    assert not stage.there(instance_id)


async def test_one_look_by_a_timer_of_the_system_ends_it_and_says_so(stage: Stage, asleep: tuple[str, int]) -> None:
    run, instance_id = asleep
    command = [sys.executable, "-m", "remote_gpu_trainer", "watch", "--once"]
    done = await anyio.run_process(command, env=environment(stage.folder, stage.market), check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert f"{run}, ended as agreed to beforehand: " in said and not stage.there(instance_id)
