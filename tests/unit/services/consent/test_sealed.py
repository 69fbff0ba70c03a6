"""Level sealed, end to end: the server's key cannot destroy, the other is used in the person's terminal alone."""

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from remote_gpu_trainer import settings
from remote_gpu_trainer.approval.anchors import SEALED_FILE
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel
from tests.stage import QUIET, SPEED, Renter, Stage, environment, on_stage
from tests.unit.services.consent.atterminal import Sitting, sit
from tests.unit.services.consent.person import agree, asked

pytestmark = pytest.mark.anyio

PASSPHRASE = "five random words here"
POLICY = 'approval_level = "sealed"\n'
NEW = "five random words): "


async def on_terminal(env: dict[str, str], *arguments: str, lines: list[tuple[str, str]]) -> Sitting:
    return await anyio.to_thread.run_sync(lambda: sit(env, arguments, lines))


async def test_the_server_cannot_destroy_and_the_persons_terminal_can(tmp_path: Path) -> None:
    from remote_gpu_trainer.emulator.service import Emulator

    with Emulator(tmp_path / "market", speed=SPEED, without=QUIET) as ready, Renter(ready) as market:
        env = environment(tmp_path, market, POLICY)
        full = env.pop("VAST_API_KEY")
        key_file = settings.load(env).key_file

        # The passphrase has to be long, and a key without the right to destroy is nothing to seal.
        made = await on_terminal(
            env,
            "keys",
            "setup",
            lines=[("in use now): ", full), (NEW, PASSPHRASE), ("The same again: ", PASSPHRASE)],
        )
        assert made.status == 0, made
        scoped = await anyio.Path(key_file).read_text()
        assert full not in made.screen + made.out and PASSPHRASE not in made.screen + made.out
        assert scoped.strip() not in made.screen + made.out and scoped.strip() != full
        sealed = await anyio.Path(env["RGT_HOME"], SEALED_FILE).read_text()
        assert full not in sealed

        checked = await on_terminal(env, "keys", "check", lines=[])
        assert checked.status == 0 and "MAY" not in checked.out, checked.out
        assert [line.split()[0] for line in checked.out.splitlines()] == ["refused"] * 5

        async with on_stage(tmp_path, policy=POLICY, env={"VAST_API_KEY": scoped.strip()}, market=market) as stage:
            await the_road(stage, env, full)


async def the_road(stage: Stage, env: dict[str, str], full: str) -> None:
    run, instance_id, _ = await stage.proven("guarded")
    request = await asked(stage, run)

    # A consent of level person does not do, wherever it comes from; nor does the server's key, if it did.
    token = agree(stage, request)
    assert "level sealed" in await stage.refused("destroy", target=run, approval_id=request.id, token=token)
    assert stage.there(instance_id)
    stage.services.approvals.void(request.id, "for another try")
    request = await asked(stage, run)
    strong = agree(stage, request, AssuranceLevel.SEALED)
    refusal = await stage.refused("destroy", target=run, approval_id=request.id, token=strong)
    assert "permission_missing" in refusal and "The instance was not destroyed" in refusal, refusal
    assert stage.there(instance_id)

    request = await asked(stage, run)
    wrong = [("> ", run)] + [("destroying key: ", "not the passphrase")] * 3
    failed = await on_terminal(env, "approve", request.id, lines=wrong)
    assert failed.status == 2 and "does not open" in failed.out and stage.there(instance_id)
    known = stage.services.approvals.get(request.id)
    assert known is not None and known.state is ApprovalState.OPEN

    done = await on_terminal(env, "approve", request.id, lines=[("> ", run), ("destroying key: ", PASSPHRASE)])
    assert done.status == 0 and "its meter is off" in done.screen, done
    assert not stage.there(instance_id)
    shown = done.screen + done.out
    assert PASSPHRASE not in shown and full not in shown and "The token" not in shown
    closed = (await stage.call("poll_status", target=run))["runs"][0]
    assert closed["phase"] == "closed"


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio"
