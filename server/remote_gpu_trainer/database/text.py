"""How values lie in the database: one spelling for a moment, one for JSON."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar, cast

from pydantic import BaseModel, JsonValue, ValidationError

M = TypeVar("M", bound=BaseModel)


class Unreadable(Exception):
    """Text in the database that this program did not write."""


def stamp(moment: datetime) -> str:
    """A moment as UTC text of fixed width, so that text order is time order.

    Raises:
        ValueError: the moment carries no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} carries no time zone; every time in the journal is aware UTC")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str) -> datetime:
    """The moment that ``stamp`` wrote.

    Raises:
        Unreadable: the text is not one.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError as problem:
        raise Unreadable(f"{text!r} is not a time") from problem


def dump(value: BaseModel | Mapping[str, JsonValue]) -> str:
    """JSON in one spelling: sorted keys, no spaces, ASCII, no NaN. Nanosecond times stay whole integers."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else dict(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def load(model: type[M], text: str) -> M:
    """The value that ``dump`` wrote.

    Raises:
        Unreadable: the text is not such a value.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as problem:
        raise Unreadable(f"not a {model.__name__}: {problem.errors()[0]['msg']}") from problem


def load_object(text: str) -> dict[str, JsonValue]:
    """The mapping that ``dump`` wrote.

    Raises:
        Unreadable: the text is not one.
    """
    try:
        plain: object = json.loads(text)
    except ValueError as problem:
        raise Unreadable("not JSON") from problem
    if not isinstance(plain, dict):
        raise Unreadable("not a JSON object")
    return cast(dict[str, JsonValue], plain)
