"""An HTTP answer read into memory within limits: status, headers that matter, and JSON or text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

MOST_BYTES = 16 << 20
"""256 offers of some 4 KB make 1 MB; sixteen times that is not an answer to any question we ask."""
MOST_DEPTH = 64

Row = dict[str, Any]


class UnreadableBody(Exception):
    """The body is too large, too deep, or not JSON; the message says which."""


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, and the raw body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    raw: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON values; NaN and Infinity read as null.

        Raises:
            UnreadableBody: it is not JSON, or nests deeper than MOST_DEPTH.
        """
        try:
            found: object = json.loads(self.raw, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as wrong:
            kind = "nested too deeply" if isinstance(wrong, RecursionError) else "not JSON"
            raise UnreadableBody(f"the body of {len(self.raw)} bytes is {kind}") from None
        if _deeper_than(found, MOST_DEPTH):
            raise UnreadableBody(f"the body nests deeper than {MOST_DEPTH} levels")
        return found

    def row(self) -> Row | None:
        """The body when it is a JSON object, else None."""
        try:
            return as_row(self.json())
        except UnreadableBody:
            return None

    def text(self, most: int = 2000) -> str:
        """The beginning of the body as text, whatever it is."""
        return self.raw[:most].decode("utf-8", "replace")


def as_row(value: object) -> Row | None:
    """A JSON object, or None."""
    return cast("Row", value) if isinstance(value, dict) else None


def as_rows(value: object) -> list[Row | None] | None:
    """The entries of a JSON list, None for those that are no objects; None when it is no list."""
    return [as_row(entry) for entry in cast("list[object]", value)] if isinstance(value, list) else None


def _deeper_than(value: object, most: int) -> bool:
    level: list[object] = [value]
    for _ in range(most):
        below: list[object] = []
        for entry in level:
            if isinstance(entry, dict):
                below.extend(cast("dict[str, object]", entry).values())
            elif isinstance(entry, list):
                below.extend(cast("list[object]", entry))
        if not below:
            return False
        level = below
    return True
