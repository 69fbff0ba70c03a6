"""JSON that means one thing only: no key twice, no NaN, no size without bound."""

import json
from typing import cast

from pydantic import JsonValue

MAX_BYTES = 64 << 20


class NotOneMeaning(ValueError):
    """Text that two readers could read differently, or that is no JSON object at all."""


def strict_object(text: bytes) -> dict[str, JsonValue]:
    """The object in a JSON text.

    Raises:
        NotOneMeaning: with the reason.
    """
    if len(text) > MAX_BYTES:
        raise NotOneMeaning(f"it has {len(text)} bytes, more than {MAX_BYTES}")
    try:
        value: object = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except NotOneMeaning:
        raise
    except (ValueError, RecursionError) as problem:
        raise NotOneMeaning("it is not JSON") from problem
    if not isinstance(value, dict):
        raise NotOneMeaning("it is not a JSON object")
    return cast(dict[str, JsonValue], value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise NotOneMeaning("a key stands in it twice")
    return dict(pairs)


def _no_constant(name: str) -> object:
    raise NotOneMeaning(f"it holds {name}")
