"""Level sealed, end to end: the server's key cannot destroy, the other is used in the person's terminal alone."""

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from remote_gpu_trainer import settings
from remote_gpu_trainer.app import journal_file
from remote_gpu_trainer.approval.anchors import SEALED_FILE
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel
from remote_gpu_trainer.emulator.service import Emulator
from remote_gpu_trainer.vastai.keys import AGENT_PERMISSIONS
from tests.stage import QUIET, SPEED, Renter, Stage, environment, on_stage
from tests.unit.database.builders import a_teardown
from tests.unit.services.consent.atterminal import Sitting, sit
from tests.unit.services.consent.person import agree, asked

pytestmark = pytest.mark.anyio

PASSPHRASE = "five random words here"
POLICY = 'approval_level = "sealed"\n'
NEW = "five random words): "


async def on_terminal(env: dict[str, str], *arguments: str, lines: list[tuple[str, str]]) -> Sitting:
    return await anyio.to_thread.run_sync(lambda: sit(env, arguments, lines))


async def test_the_server_cannot_destroy_and_the_persons_terminal_can(tmp_path: Path) -> None:
    with Emulator(tmp_path / "market", speed=SPEED, without=QUIET) as ready, Renter(ready) as market:
        env = environment(tmp_path, market, POLICY)
        full = env.pop("VAST_API_KEY")
        key_file = settings.load(env).key_file

        # The passphrase has to be long, and a key without the right to destroy is nothing to seal.
        made = await on_terminal(
            env,
            "approve",
            "--enroll",
            lines=[("> ", "sealed"), ("in use now): ", full), (NEW, PASSPHRASE), ("The same again: ", PASSPHRASE)],
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

    yes = [("> ", run), ("destroying key: ", PASSPHRASE)]
    # The token ends with the process that unsealed the key, so an outage just then ends the yes as well.
    stage.market.do("/faults", route="GET /api/*", kind="auth", count=1000)
    out = await on_terminal(env, "approve", request.id, lines=yes)
    stage.market.control.request("DELETE", "/faults", json={}).raise_for_status()
    known = stage.services.approvals.get(request.id)
    assert out.status == 2 and known is not None and known.state is ApprovalState.VOID, out
    assert stage.there(instance_id)

    request = await asked(stage, run)
    done = await on_terminal(env, "approve", request.id, lines=yes)
    assert done.status == 0 and "its meter is off" in done.screen, done
    assert not stage.there(instance_id)
    spent = stage.services.approvals.get(request.id)
    account = request.plan.account_id
    assert spent is not None and spent.approver == f"passphrase of the sealed key of account {account}"
    shown = done.screen + done.out
    assert PASSPHRASE not in shown and full not in shown and "The token" not in shown
    closed = (await stage.call("poll_status", target=run))["runs"][0]
    assert closed["phase"] == "closed"


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio"


@pytest.mark.parametrize("door", [("approve", "--enroll", "sealed", "--by-hand"), ("keys", "setup", "--by-hand")])
def test_a_scoped_key_made_by_hand_is_tried_before_the_full_one_is_sealed(
    tmp_path: Path, door: tuple[str, ...]
) -> None:
    with Emulator(tmp_path / "market", speed=SPEED, ssh="none") as ready, Renter(ready) as market:
        env = environment(tmp_path, market)
        full = env.pop("VAST_API_KEY")
        sealed = Path(env["RGT_HOME"], SEALED_FILE)
        scoped = market.do("/keys", name="by-hand", permissions=dict(AGENT_PERMISSIONS))["key"]
        begin = [("in use now): ", full)]
        end = [(NEW, PASSPHRASE), ("The same again: ", PASSPHRASE)]

        not_scoped = sit(env, door, [*begin, ("that you made: ", full), *end])
        assert not_scoped.status == 2 and "not provably refused" in not_scoped.out and not sealed.exists()
        differ = sit(env, door, [*begin, ("that you made: ", scoped), *end[:1], ("The same again: ", "another one")])
        assert differ.status == 2 and "Nothing was sealed" in differ.out and not sealed.exists()

        made = sit(env, door, [*begin, ("that you made: ", scoped), *end])
        assert made.status == 0 and sealed.exists(), made
        assert settings.load(env).key_file.read_text() == f"{scoped}\n"
        assert not any(secret in made.screen + made.out for secret in (full, scoped, PASSPHRASE))

        listed = sit(env, ("approve", "--enroll"), [("> ", "")])
        assert listed.status == 0 and "Nothing was added" in listed.out, listed
        assert f"  sealed: vast.ai destroying key of account {ready.account_id}\n" in listed.screen
        assert "  passkey: none\n  security-key: none\n" in listed.screen


def test_without_a_sealed_key_nobody_reads_and_types_in_vain(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "RGT_HOME": str(tmp_path / "rgt")}
    clock = SystemClock()
    with SqliteApprovalBook(journal_file(tmp_path / "rgt"), clock=clock) as book:
        (tmp_path / "rgt" / settings.POLICY_FILE).write_text(POLICY, encoding="utf-8")
        request = book.request(a_teardown(), ttl_s=900)

        said = sit(env, ("approve", request.id), [])

        assert said.status == 2 and "rgt approve --enroll sealed" in said.out and "Nobody was asked" in said.out, said
        assert said.screen == ""
        known = book.get(request.id)
    assert known is not None and known.state is ApprovalState.OPEN
