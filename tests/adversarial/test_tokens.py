"""Tokens that are none, another's, too old, used, or carried to another place. None destroys; each refusal says why."""

import base64
from collections.abc import Callable

import anyio
import pytest

from remote_gpu_trainer.approval.token import mint as any_token
from remote_gpu_trainer.domain.approvals import ApprovalRequest
from tests.adversarial.scene import NOT_DESTROYED, Attempt, Door, MovedClock, Scene

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]


def spelled(change: Callable[[str], str]) -> Attempt:
    """Use the person's real token, changed."""

    async def attempt(scene: Scene, door: Door) -> str:
        request = await door.ask()
        return await door.destroy(approval_id=request.id, token=change(scene.mint(request)))

    return attempt


def guessing(token: Callable[[], str]) -> Attempt:
    """Use a token that nobody minted, while a question is open."""

    async def attempt(scene: Scene, door: Door) -> str:
        request = await door.ask()
        return await door.destroy(approval_id=request.id, token=token())

    return attempt


async def no_token(scene: Scene, door: Door) -> str:
    await door.ask()  # the yes to an earlier attempt would be told instead
    return await door.destroy()


async def id_alone(scene: Scene, door: Door) -> str:
    return await door.destroy(approval_id=(await door.ask()).id)


async def token_alone(scene: Scene, door: Door) -> str:
    return await door.destroy(token=scene.mint(await door.ask()))


async def unknown_id(scene: Scene, door: Door) -> str:
    token = scene.mint(await door.ask())
    return await door.destroy(approval_id="ap-aaaaaaaa", token=token)


async def id_with_a_path(scene: Scene, door: Door) -> str:
    token = scene.mint(await door.ask())
    return await door.destroy(approval_id="../../ap-aaaaaaaa' OR 1=1 --", token=token)


async def guess_until_it_locks(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    for _ in range(5):
        await door.destroy(approval_id=request.id, token=any_token())
    return await door.destroy(approval_id=request.id, token=token)


async def earlier_token(scene: Scene, door: Door) -> str:
    first = await door.ask()
    token = scene.mint(first)
    door.services.approvals.void(first.id, "somebody asked again")
    second = await door.ask()
    scene.mint(second)
    return await door.destroy(approval_id=second.id, token=token)


async def voided(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    door.services.approvals.void(request.id, "the plan no longer holds")
    return await door.destroy(approval_id=request.id, token=token)


ATTEMPTS: dict[str, tuple[Attempt, str]] = {
    "no token at all": (no_token, "a person has to decide"),
    "an approval id without a token": (id_alone, "belong together"),
    "a token without its approval id": (token_alone, "belong together"),
    "a token under an id that was never asked": (unknown_id, "there is no such approval"),
    "an id that is a path and a query": (id_with_a_path, "there is no such approval"),
    "a well-formed guess before anybody answered": (guessing(any_token), "nobody has approved it yet"),
    "the word yes": (guessing(lambda: "yes"), "what was given is no token"),
    "the word true": (guessing(lambda: "true"), "what was given is no token"),
    "an empty token": (guessing(lambda: ""), "what was given is no token"),
    "a token of spaces": (guessing(lambda: " " * 28), "what was given is no token"),
    "a token of a hundred thousand characters": (guessing(lambda: "A" * 100_000), "what was given is no token"),
    "all zeros": (guessing(lambda: "0" * 28), "nobody has approved it yet"),
    "a NUL and a line end": (guessing(lambda: "\x00\r\n"), "what was given is no token"),
    "a truncated token": (spelled(lambda t: t[:-1]), "a token has 28"),
    "a token with one more character": (spelled(lambda t: t + "A"), "a token has 28"),
    "a token twice": (spelled(lambda t: t + t), "a token has 28"),
    "a token in base64": (spelled(lambda t: base64.b64encode(t.encode()).decode()), "what was given is no token"),
    "a token in hex": (spelled(lambda t: t.encode().hex()), "what was given is no token"),
    "a token with a full-width first character": (
        spelled(lambda t: chr(ord(t[0]) + 0xFEE0) + t[1:]),
        "what was given is no token",
    ),
    "a token read backwards": (spelled(lambda t: t[::-1]), "[token_rejected]"),
    "a token with one character changed": (
        spelled(lambda t: ("B" if t[0] != "B" else "C") + t[1:]),
        "a checksum, does not fit",
    ),
    "guessing until it locks, then the right one": (guess_until_it_locks, "it was locked after 5 wrong tokens"),
    "the token of an earlier question": (earlier_token, "the token was not minted for it"),
    "a token whose question was voided": (voided, "it no longer holds"),
}


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_no_such_token_destroys(scene: Scene, era: str, name: str) -> None:
    await scene.withstands(era, *ATTEMPTS[name])


async def test_a_declined_question_takes_no_token(scene: Scene, era: str) -> None:
    async with scene.door(era) as door:
        request = await door.ask()
        token = scene.mint(request)
        decline(door, request)
        told = await door.destroy(approval_id=request.id, token=token)

    assert "the person declined it: not tonight" in told and NOT_DESTROYED in told
    assert scene.there()


async def test_a_token_ends_when_the_clock_says_so(scene: Scene, era: str) -> None:
    clock = MovedClock()
    async with scene.door(era, clock=clock) as door:
        request = await door.ask()
        token = scene.mint(request)
        clock.by = request.expires_at - clock.now()
        told = await door.destroy(approval_id=request.id, token=token)
        clock.by *= 0
        door.services.approvals.open_requests()  # the clock goes back: everything open ends with that

    assert "it expired at" in told and NOT_DESTROYED in told
    assert scene.there()


def decline(door: Door, request: ApprovalRequest) -> None:
    from remote_gpu_trainer.domain.approvals import Channel

    door.services.approvals.decline(request.id, channel=Channel.TERMINAL, reason="not tonight")


async def test_of_fifty_connections_none_gets_through_with_a_guess(scene: Scene) -> None:
    told: list[str] = []
    async with scene.door("2025-11-25") as door:
        request = await door.ask()
        scene.mint(request)

        async def guess() -> None:
            told.append(await door.destroy(approval_id=request.id, token=any_token()))

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(guess)

    assert len(told) == 50 and all(NOT_DESTROYED in one for one in told)
    assert sum("is locked now" in one for one in told) == 1
    assert scene.there()
