"""The platform's filter language: ``{field: {op: value}}`` over rows, with the loose value types that clients send."""

from collections.abc import Callable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any, cast

Row = Mapping[str, Any]
Test = Callable[[Any, Any], bool]


class BadQuery(ValueError):
    """A filter or order that the platform refuses; the text is its ``msg``."""


_COMPARE: dict[str, Test] = {"eq": eq, "neq": ne, "gt": gt, "lt": lt, "gte": ge, "lte": le}
OPERATORS = frozenset({*_COMPARE, "in", "notin"})


def as_filters(blob: object) -> dict[str, dict[str, Any]]:
    """Check the form of a filter object. Raises BadQuery."""
    if not isinstance(blob, Mapping):
        raise BadQuery(f"Invalid query: {blob}, must be dict of conditions")
    filters: dict[str, dict[str, Any]] = {}
    for field, conditions in cast("Mapping[object, object]", blob).items():
        if not isinstance(conditions, Mapping):
            raise BadQuery(f"Error in query parameters: {field} must be an object of operators")
        ops = {str(op): value for op, value in cast("Mapping[object, object]", conditions).items()}
        for op, value in ops.items():
            if op not in OPERATORS:
                raise BadQuery(f"Error in query parameters: {op} is not a valid operator")
            if op in {"in", "notin"} and not isinstance(value, Sequence):
                raise BadQuery(f"Error in query parameters: {field} {op} needs a list")
        filters[str(field)] = ops
    return filters


def matches(row: Row, filters: Mapping[str, Mapping[str, Any]], known: frozenset[str]) -> bool:
    """Whether a row passes all filters. Raises BadQuery for a field outside ``known`` or a value of another kind."""
    for field, ops in filters.items():
        if field not in known:
            raise BadQuery(f"Error in query parameters: {field} is not a valid search key")
        have = row.get(field)
        if not all(_passes(field, have, op, wanted) for op, wanted in ops.items()):
            return False
    return True


def _passes(field: str, have: Any, op: str, wanted: Any) -> bool:
    if op in {"in", "notin"}:
        values = [coerced(field, have, value) for value in wanted]
        return (have in values) == (op == "in")
    value = coerced(field, have, wanted)
    if have is None or value is None:
        return _COMPARE[op](have, value) if op in {"eq", "neq"} else False
    try:
        return _COMPARE[op](have, value)
    except TypeError:
        raise BadQuery(f"Error in query parameters: {field} cannot be compared with {wanted!r}") from None


def coerced(field: str, have: Any, wanted: Any) -> Any:
    """Read ``wanted`` as the kind of ``have``: clients send numbers and booleans as text. Raises BadQuery."""
    if wanted is None or have is None:
        return wanted
    if isinstance(have, bool):
        if isinstance(wanted, str):
            return wanted.strip().lower() == "true"
        return bool(wanted)
    if isinstance(have, int | float) and not isinstance(wanted, int | float):
        try:
            return float(wanted)
        except (TypeError, ValueError):
            raise BadQuery(f"Error in query parameters: {field} needs a number, got {wanted!r}") from None
    if isinstance(have, str):
        return str(wanted).replace("_", " ") if field == "gpu_name" else str(wanted)
    return wanted


def ordered(
    rows: list[dict[str, Any]], order: Sequence[tuple[str, str]], known: frozenset[str]
) -> list[dict[str, Any]]:
    """Sort by several fields, nulls last. Raises BadQuery for an unknown field."""
    for field, direction in reversed(order):
        if field not in known:
            raise BadQuery(f"Error in query parameters: {field} is not a valid search key")
        down = direction.lower() == "desc"
        have = [row for row in rows if row.get(field) is not None]
        lack = [row for row in rows if row.get(field) is None]
        have.sort(key=lambda row: _sort_key(row[field]), reverse=down)
        rows = have + lack
    return rows


def _sort_key(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
