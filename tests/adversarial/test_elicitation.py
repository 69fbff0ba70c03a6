"""Answers through the client that are no yes, and answers that are carried over, changed or given twice."""

import re
from collections.abc import Callable
from typing import Any, Literal

import anyio
import pytest
from mcp import MCPError
from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT
from mcp.types import ElicitRequestParams, ElicitResult, ErrorData, InputRequiredResult, InputResponses

from remote_gpu_trainer.domain.approvals import ApprovalState
from tests.adversarial.scene import NOT_DESTROYED, TOKEN, Door, Scene

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]

STATE_REFUSED = re.compile("request.?state", re.IGNORECASE)
PASSPHRASE = "correct horse battery staple"


def says(action: Literal["accept", "decline", "cancel"], content: dict[str, Any] | None = None) -> ElicitationFnT:
    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action=action, content=content)

    return person


def types(change: Callable[[str], str]) -> Callable[[Scene], ElicitationFnT]:
    return lambda scene: says("accept", {"name": change(scene.run)})


def swap(name: str, letter: str, other: str) -> str:
    assert letter in name
    return name.replace(letter, other, 1)


ANSWERS: dict[str, tuple[Callable[[Scene], ElicitationFnT], str]] = {
    "declined": (lambda s: says("decline"), "the person declined"),
    "declined, with the right name in it": (lambda s: says("decline", {"name": s.run}), "the person declined"),
    "cancelled": (lambda s: says("cancel"), "closed the question without an answer"),
    "cancelled, with the right name in it": (lambda s: says("cancel", {"name": s.run}), "closed the question"),
    "another run's name": (types(lambda n: "other-aaaaaa"), "is not the instance's name"),
    "the instance's number": (lambda s: says("accept", {"name": str(s.instance_id)}), "is not the instance's name"),
    "the word yes": (types(lambda n: "yes"), "is not the instance's name"),
    "nothing": (types(lambda n: ""), "nothing was typed"),
    "spaces": (types(lambda n: "   "), "nothing was typed"),
    "in capitals": (types(str.upper), "in other capitals"),
    "with a space behind it": (types(lambda n: n + " "), "with spaces around it"),
    "with a line end behind it": (types(lambda n: n + "\n"), "with spaces around it"),
    "with a Cyrillic letter": (types(lambda n: swap(n, "a", "\u0430")), "holds characters outside ASCII"),
    "with a full-width letter": (types(lambda n: swap(n, "g", "\uff47")), "is made of other characters"),
    "with a zero-width space": (types(lambda n: n + "\u200b"), "holds characters outside ASCII"),
    "with a soft hyphen": (types(lambda n: n[:3] + "\u00ad" + n[3:]), "holds characters outside ASCII"),
    "with another hyphen": (types(lambda n: swap(n, "-", "\u2010")), "holds characters outside ASCII"),
    "with a combining mark": (types(lambda n: n + "\u0301"), "holds characters outside ASCII"),
    "with one letter less": (types(lambda n: n[:-1]), "is not the instance's name"),
    "twice": (types(lambda n: f"{n} {n}"), "is not the instance's name"),
    "in quotes": (types(lambda n: f'"{n}"'), "is not the instance's name"),
    "a passphrase": (lambda s: says("accept", {"name": PASSPHRASE}), "is not the instance's name"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_no_such_answer_destroys(scene: Scene, era: str, name: str) -> None:
    person, reason = ANSWERS[name]
    async with scene.door(era, person=person(scene)) as door:
        told = await door.destroy()
        events = door.services.journal.events(scene.lease, limit=5)

    assert "[consent_declined]" in told and reason in told, told
    assert NOT_DESTROYED in told
    assert PASSPHRASE not in told and PASSPHRASE not in repr(events)
    assert scene.there()


MALFORMED: dict[str, ElicitationFnT] = {
    "accepted without anything": says("accept"),
    "accepted without the name": says("accept", {"confirm": True}),
    "accepted with a list for a name": says("accept", {"name": ["guarded"]}),
    "accepted with a number for a name": says("accept", {"name": 7}),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_an_answer_of_another_shape_does_not_destroy(scene: Scene, era: str, name: str) -> None:
    async with scene.door(era, person=MALFORMED[name]) as door:
        try:
            told = await door.destroy()
        except (MCPError, RuntimeError) as refused:
            told = str(refused)

    assert told
    assert scene.there()


async def test_a_client_that_answers_with_an_error_does_not_destroy(scene: Scene, era: str) -> None:
    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ErrorData:
        return ErrorData(code=-32000, message="the window is gone")

    async with scene.door(era, person=person) as door:
        try:
            told = await door.destroy()
        except MCPError as refused:
            told = str(refused)

    assert told
    assert scene.there()


async def test_a_question_that_nobody_answers_in_time_does_not_destroy(scene: Scene, era: str) -> None:
    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async with scene.door(era, person=person) as door:
        with anyio.move_on_after(0.5):
            await door.client.call_tool("destroy", {"target": scene.run})
        assert not [one for one in door.services.approvals.open_requests() if one.state is not ApprovalState.OPEN]

    assert scene.there()


async def test_the_question_holds_no_token_and_ends_with_a_warning(scene: Scene, era: str) -> None:
    asked: list[str] = []

    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="decline")

    async with scene.door(era, person=person) as door:
        await door.destroy()

    assert len(asked) == 1 and not TOKEN.search(asked[0])
    assert "Never type a password or a token here." in asked[0]


async def question(door: Door, state: str | None = None, answer: ElicitResult | None = None) -> Any:
    """One round of the era without sessions, by hand: an answer is carried along with the state."""
    responses: InputResponses | None = None
    if answer is not None:
        first = await question(door)
        assert isinstance(first, InputRequiredResult) and first.input_requests
        responses = dict.fromkeys(first.input_requests, answer)
        state = first.request_state if state is None else state
    return await door.client.session.call_tool(
        "destroy",
        {"target": door.run},
        read_timeout_seconds=50,
        input_responses=responses,
        request_state=state,
        allow_input_required=True,
    )


@pytest.fixture
def asking() -> ElicitationFnT:
    """A client that can be asked; by hand, it never is."""
    return says("decline")


def accepted(scene: Scene) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": scene.run})


TAMPERED: dict[str, Callable[[str], str]] = {
    "cut short": lambda state: state[:-4],
    "with a character changed": lambda state: state[:-6] + ("A" if state[-6] != "A" else "B") + state[-5:],
    "with something added": lambda state: state + "AAAA",
    "made up": lambda state: '{"v":1,"outcomes":{}}',
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_a_tampered_state_of_the_question_is_refused(scene: Scene, asking: ElicitationFnT, name: str) -> None:
    async with scene.door("2026-07-28", person=asking) as door:
        first = await question(door)
        assert isinstance(first, InputRequiredResult) and first.request_state
        with pytest.raises(MCPError, match=STATE_REFUSED):
            await question(door, state=TAMPERED[name](first.request_state), answer=accepted(scene))

    assert scene.there()


async def test_the_state_of_another_server_is_refused(scene: Scene, asking: ElicitationFnT) -> None:
    async with scene.door("2026-07-28", person=asking) as other:
        first = await question(other)
        assert isinstance(first, InputRequiredResult) and first.request_state
    async with scene.door("2026-07-28", person=asking) as door:
        with pytest.raises(MCPError, match=STATE_REFUSED):
            await question(door, state=first.request_state, answer=accepted(scene))

    assert scene.there()


async def test_the_state_of_another_call_is_refused(scene: Scene, asking: ElicitationFnT) -> None:
    async with scene.door("2026-07-28", person=asking) as door:
        first = await question(door)
        assert isinstance(first, InputRequiredResult) and first.input_requests
        with pytest.raises(MCPError, match=STATE_REFUSED):
            await door.client.session.call_tool(
                "destroy",
                {"target": str(scene.instance_id)},
                input_responses={key: accepted(scene) for key in first.input_requests},
                request_state=first.request_state,
                allow_input_required=True,
            )

    assert scene.there()


async def test_a_yes_after_the_no_to_the_same_question_counts_for_nothing(scene: Scene, asking: ElicitationFnT) -> None:
    async with scene.door("2026-07-28", person=asking) as door:
        first = await question(door)
        assert isinstance(first, InputRequiredResult) and first.input_requests
        keys = list(first.input_requests)

        async def answered(answer: ElicitResult) -> Any:
            return await door.client.session.call_tool(
                "destroy",
                {"target": scene.run},
                read_timeout_seconds=50,
                input_responses=dict.fromkeys(keys, answer),
                request_state=first.request_state,
                allow_input_required=True,
            )

        no = await answered(ElicitResult(action="decline"))
        again = await answered(accepted(scene))

        assert no.is_error
        # The old answer fits no open question: a new plan is asked about, and nothing happens meanwhile.
        assert isinstance(again, InputRequiredResult)
    assert scene.there()


async def test_an_answer_without_a_question_counts_for_nothing(scene: Scene, asking: ElicitationFnT) -> None:
    async with scene.door("2026-07-28", person=asking) as door:
        answer = await door.client.session.call_tool(
            "destroy",
            {"target": scene.run},
            input_responses={"the_person": accepted(scene)},
            allow_input_required=True,
        )

        assert isinstance(answer, InputRequiredResult)
    assert scene.there()


@pytest.mark.parametrize("extra", [{"confirm": True}, {"said": {"name": "x"}}, {"asked": {}}, {"name": "guarded"}])
async def test_an_argument_that_the_model_makes_up_is_no_answer(scene: Scene, era: str, extra: dict[str, Any]) -> None:
    async with scene.door(era) as door:
        told = await door.destroy(**extra)

    assert "has no argument" in told and "Nothing was done" in told, told
    assert scene.there()
