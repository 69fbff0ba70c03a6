"""Levels by action and price, and what each asks of the person, through rgt approve on a terminal of its own."""

import shlex
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio.to_thread
import pytest
from pydantic import ValidationError

from remote_gpu_trainer.approval.anchors import SIGNERS_FILE, pinned_signers
from remote_gpu_trainer.approval.receipt import receipt_public_key, verify_receipt
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.plans import TeardownPlan
from remote_gpu_trainer.domain.policy import LevelRule, Policy
from remote_gpu_trainer.domain.units import UsdPerHour
from tests.stage import Stage, environment, on_stage
from tests.unit.approval.securitykey import SoftKey
from tests.unit.services.consent.atterminal import ROOT, Sitting, sit
from tests.unit.services.consent.person import agree, asked

pytestmark = pytest.mark.anyio

STAND_IN = """#!/bin/sh
exec {python} - "$@" 3<&0 <<'END'
import os, sys
sys.path.insert(0, {root!r})
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.unit.approval.securitykey import SoftKey
key = SoftKey()
key.ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(open(sys.argv[6]).read()))
print(key.sign(os.fdopen(3, "rb").read(), flags={flags}), end="")
END
"""


async def on_terminal(stage: Stage, *arguments: str, lines: list[tuple[str, str]], path: Path | None = None) -> Sitting:
    env = environment(stage.folder, stage.market)
    if path is not None:
        env["PATH"] = f"{path}:/usr/bin:/bin"
    return await anyio.to_thread.run_sync(lambda: sit(env, arguments, lines))


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    policy = '[[approval]]\naction = "destroy"\nabove_usd_per_hour = 0.01\nlevel = "hardware"\n'
    async with on_stage(tmp_path_factory.mktemp("guarded"), policy=policy) as stage:
        yield stage


def ssh_keygen(folder: Path, *, flags: int) -> Path:
    folder.mkdir()
    program = folder / "ssh-keygen"
    program.write_text(STAND_IN.format(python=shlex.quote(sys.executable), root=str(ROOT), flags=flags))
    program.chmod(0o700)
    return folder


async def test_a_dearer_machine_needs_a_key_that_was_touched_and_unlocked(guarded: Stage, tmp_path: Path) -> None:
    run, instance_id, _ = await guarded.proven("hard")
    key, handle, public = SoftKey(), tmp_path / "id_sk", tmp_path / "id_sk.pub"
    await anyio.to_thread.run_sync(lambda: handle.write_text(key.ed.private_bytes_raw().hex()))
    await anyio.to_thread.run_sync(lambda: public.write_text(" ".join(key.line.split()[1:])))
    request = await asked(guarded, run)
    typed = agree(guarded, request)
    refusal = await guarded.refused("destroy", target=run, approval_id=request.id, token=typed)
    assert "level hardware" in refusal
    guarded.services.approvals.void(request.id, "for another try")

    request = await asked(guarded, run)
    approve = ("approve", request.id, "--key", str(handle))
    unpinned = await on_terminal(guarded, *approve, lines=[("> ", run)], path=ssh_keygen(tmp_path / "good", flags=5))
    assert unpinned.status == 2 and "not among the 0 allowed" in unpinned.out, unpinned

    pinned = await on_terminal(
        guarded,
        "approve",
        "--enroll",
        "--name",
        "ada",
        lines=[("> ", "security-key"), (".pub file: ", str(public)), ("to pin it: ", "ada")],
    )
    assert pinned.status == 0 and [one.name for one in pinned_signers(guarded.services.settings.home)] == ["ada"], (
        pinned
    )
    twice = await on_terminal(
        guarded, "approve", "--enroll", "security-key", "--key", str(public), lines=[("to pin it: ", "me")]
    )
    assert twice.status == 2 and "is pinned already" in twice.out and "Nothing was registered" in twice.out
    untouched = await on_terminal(
        guarded, *approve, lines=[("> ", run)], path=ssh_keygen(tmp_path / "untouched", flags=0)
    )
    assert untouched.status == 2 and "nobody touched" in untouched.out
    signed = await on_terminal(guarded, *approve, lines=[("> ", run)], path=tmp_path / "good")
    assert signed.status == 0, signed
    token = next(
        line.strip() for line in signed.screen.splitlines() if line.count("-") == 6 and line.startswith("    ")
    )
    done = await guarded.call("destroy", target=run, approval_id=request.id, token=token)
    assert done["destroyed"] and not guarded.there(instance_id)


async def test_at_level_console_the_person_destroys_and_the_server_closes_the_books(tmp_path: Path) -> None:
    async with on_stage(tmp_path, policy='approval_level = "console"\n') as stage:
        run, instance_id, _ = await stage.proven("manual")
        request = await asked(stage, run)
        strongest = agree(stage, request, AssuranceLevel.HARDWARE)
        refusal = await stage.refused("destroy", target=run, approval_id=request.id, token=strongest)
        assert "level console" in refusal and stage.there(instance_id)
        stage.services.approvals.void(request.id, "for another try")

        request = await asked(stage, run)
        text = await stage.refused("destroy", target=run)
        assert f"destroys instance {instance_id} in the platform's own console" in text
        assert (await asked(stage, run)).id == request.id
        stage.market.do("/quirks", reappears=False)  # one look too early would ask again
        answer = stage.market.destroy(instance_id)  # the person, in the console
        assert answer.is_success and not stage.there(instance_id), answer.text

        done = await stage.call("destroy", target=run)

        assert done["confirmed"] and done["receipt"]
        content = await anyio.Path(done["receipt"]).read_bytes()
        receipt = verify_receipt(content, public_key=receipt_public_key(stage.services.settings.home))
        assert (receipt.consent.channel, receipt.consent.assurance) == (Channel.CONSOLE, AssuranceLevel.CONSOLE)
        known = stage.services.approvals.get(request.id)
        assert known is not None and known.state is ApprovalState.SPENT and isinstance(known.plan, TeardownPlan)
        opened = stage.services.journal.events(known.plan.lease, kind="intent.opened")
        assert not [one for one in opened if one.data.get("action") == "destroy"]


async def test_at_level_console_the_persons_command_watches_and_closes_the_books(tmp_path: Path) -> None:
    policy = 'approval_level = "console"\n'
    async with on_stage(tmp_path, policy=policy) as stage:
        stage.market.do("/quirks", reappears=False)
        run, instance_id, _ = await stage.proven("watched")
        request = await asked(stage, run)
        env = environment(tmp_path, stage.market, policy)
        sat: list[Sitting] = []

        async def sitting() -> None:
            lines = [("> ", run)]
            sat.append(await anyio.to_thread.run_sync(lambda: sit(env, ("approve", request.id), lines)))

        async with anyio.create_task_group() as group:
            group.start_soon(sitting)
            for _ in range(300):
                known = stage.services.approvals.get(request.id)
                if known is not None and known.state is ApprovalState.APPROVED:
                    break
                await anyio.sleep(0.05)
            assert stage.there(instance_id), "the command destroys nothing"
            assert stage.market.destroy(instance_id).is_success  # the person, in the console

        assert sat[0].status == 0, sat
        assert "Nothing here destroys" in sat[0].screen and "its meter is off" in sat[0].screen
        assert (await stage.call("poll_status", target=run))["runs"][0]["phase"] == "closed"


def test_the_strictest_level_that_fits_holds_and_an_unknown_price_counts_as_high() -> None:
    policy = Policy(
        approval_level=AssuranceLevel.PERSON,
        approval=(
            LevelRule(action="destroy", above_usd_per_hour=UsdPerHour(1), level=AssuranceLevel.SEALED),
            LevelRule(action="destroy", above_usd_per_hour=UsdPerHour(3), level=AssuranceLevel.CONSOLE),
            LevelRule(action="rent", above_usd_per_hour=UsdPerHour(2), level=AssuranceLevel.HARDWARE),
        ),
    )
    prices = [0.5, 1.0, 1.1, 3.5, None]
    assert [policy.level_for("destroy", price).value for price in prices] == [
        "person",
        "person",
        "sealed",
        "console",
        "console",
    ]
    assert [policy.level_for("rent", price).value for price in (1.0, 2.5, None)] == ["person", "hardware", "hardware"]


def test_a_policy_cannot_send_a_rental_to_the_console() -> None:
    with pytest.raises(ValidationError, match="no level console"):
        Policy(approval=(LevelRule(action="rent", level=AssuranceLevel.CONSOLE),))


def test_no_variable_goes_around_the_policy(tmp_path: Path) -> None:
    from remote_gpu_trainer import settings

    (tmp_path / settings.POLICY_FILE).write_text('approval_level = "sealed"\n', encoding="utf-8")
    loud = {"RGT_APPROVAL_LEVEL": "person", "RGT_YES": "1", "RGT_POLICY": "x", "VAST_API_KEY": "k", "CI": "1"}
    loaded = settings.load({"RGT_HOME": str(tmp_path), "HOME": str(tmp_path), **loud})
    assert loaded.policy.approval_level is AssuranceLevel.SEALED


@pytest.mark.parametrize("content", ["", "ssh-ed25519 AAAA me@here", "sk-ssh-ed25519@openssh.com AAAA"])
async def test_only_a_security_key_can_be_pinned_and_only_by_typing(
    guarded: Stage, tmp_path: Path, content: str
) -> None:
    public = tmp_path / "key.pub"
    await anyio.to_thread.run_sync(lambda: public.write_text(content))
    before = pinned_signers(guarded.services.settings.home)
    ended = await on_terminal(guarded, "keys", "pin", str(public), "--name", "eve", lines=[("to pin it: ", "eve")])
    assert ended.status == 2 and pinned_signers(guarded.services.settings.home) == before
    assert SIGNERS_FILE not in ended.out or "not accepted" in ended.out
