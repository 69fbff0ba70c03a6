"""One API call, its answer, and the platform's several forms of refusal."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from remote_gpu_trainer.emulator.account import ApiKey
from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.lifecycle import Lifecycle
from remote_gpu_trainer.emulator.world import World

Json = dict[str, Any]
_WHOLE = re.compile(r"-?[0-9]{1,64}")


@dataclass(frozen=True)
class Answer:
    """A response: JSON ``body``, or plain ``text`` when given."""

    body: Any = None
    status: int = 200
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def payload(self) -> bytes:
        """The bytes of the body."""
        return (self.text if self.text is not None else json.dumps(self.body)).encode()


class Refusal(Exception):
    """A call that the platform refuses; ``answer`` is what it says."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.body or answer.text}")
        self.answer = answer


def refusal(status: int, error: str, msg: str, **extra: Any) -> Refusal:
    """The usual form: ``{success:false, error, msg}``."""
    return Refusal(Answer({"success": False, "error": error, "msg": msg} | extra, status))


@dataclass
class Call:
    """One authenticated request. ``body`` is the JSON object sent, empty when there was none."""

    engine: Engine
    key: ApiKey
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    raw_body_ok: bool = True
    fault: str | None = None
    """A fault that the handler itself plays: phantom or dud."""

    @property
    def world(self) -> World:
        """The platform."""
        return self.engine.world

    @property
    def life(self) -> Lifecycle:
        """The rules of phases."""
        return self.engine.life

    def number(self, name: str) -> int:
        """A path parameter as a whole number, which may be one that nothing has. Raises Refusal 400."""
        text = self.path[name]
        if not _WHOLE.fullmatch(text):
            raise refusal(400, "invalid_args", f"invalid {name}")
        return int(text)

    def json_query(self, name: str, default: Any) -> Any:
        """A query parameter that holds JSON. Raises Refusal 400."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        try:
            return json.loads(text)
        except ValueError:
            raise refusal(400, "invalid_request", f"Error in query parameters: {name} is not valid JSON") from None

    def visible(self, contract_id: int) -> Contract | None:
        """A contract as reads show it: new ones late, deleted ones perhaps once more."""
        contract = self.world.contracts.get(contract_id)
        if contract is None:
            return None
        return contract if is_visible(contract, self.world.now) else None

    def contract(
        self, contract_id: int | None = None, status: int = 404, error: str = "no_such_instance", msg: str | None = None
    ) -> Contract:
        """A contract that can be acted on. Raises Refusal with ``error``, which differs between endpoints."""
        ident = self.number("id") if contract_id is None else contract_id
        contract = self.world.contracts.get(ident)
        if contract is None or contract.phase is Phase.DESTROYED:
            raise refusal(status, error, msg or f"Instance {ident} not found.")
        return contract


def is_visible(contract: Contract, now: float) -> bool:
    """Whether reads show a contract at that moment."""
    if contract.phase is Phase.DESTROYED:
        return contract.ghost_from is not None and contract.ghost_from <= now < (contract.ghost_until or 0)
    return now >= contract.visible_from


Handler = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class Endpoint:
    """A route: its least interval in seconds (0: none known), and the category and name by which keys are scoped."""

    method: str
    path: str
    handler: Handler
    threshold_s: float = 0.0
    right: str = "misc"
    name: str = ""


def as_object(value: Any) -> Json | None:
    """A JSON object with text keys, or None."""
    return cast("Json", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """A JSON array, or None."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def number_in(body: Json, field_name: str) -> float | None:
    """A finite number in a body; None when absent or null. Raises Refusal 400."""
    value = body.get(field_name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refusal(400, "invalid_args", f"Invalid args: {field_name} must be a number")
    try:
        found = float(value)
    except ValueError:
        raise refusal(400, "invalid_args", f"Invalid args: {field_name} must be a number") from None
    if found != found or abs(found) == float("inf"):
        raise refusal(400, "invalid_args", f"Invalid args: {field_name} must be finite")
    return found


def text_in(body: Json, field_name: str, most: int) -> str | None:
    """A text in a body, at most so many characters; None when absent or null. Raises Refusal 400."""
    value = body.get(field_name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise refusal(400, "invalid_args", f"Invalid args: {field_name} must be a string")
    if len(value) > most:
        raise refusal(400, "invalid_args", f"Invalid args: {field_name} is longer than {most} characters")
    return value
