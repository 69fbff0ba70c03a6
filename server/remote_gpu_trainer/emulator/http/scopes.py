"""Scoped API keys: permission categories, with constraints on single endpoints and ids."""

from collections.abc import Mapping
from operator import eq, ge, gt, le, lt
from typing import Any, cast

from remote_gpu_trainer.emulator.http.calls import Endpoint

_OPS = {"eq": eq, "gte": ge, "lte": le, "gt": gt, "lt": lt}


def allowed(permissions: Mapping[str, Any] | None, endpoint: Endpoint, arguments: Mapping[str, Any]) -> bool:
    """Whether a key may call an endpoint with these arguments.

    ``permissions`` has the form of the platform's permission files:
    ``{"api": {category: {endpoint: {"constraints": {...}}}}}``. An empty category allows all of its endpoints; None
    allows everything.
    """
    if permissions is None:
        return True
    category = (
        _mapping(_mapping(permissions.get("api")).get(endpoint.right))
        if endpoint.right in _mapping(permissions.get("api"))
        else None
    )
    if category is None:
        return False
    if not category:
        return True
    if endpoint.name not in category:
        return False
    constraints = _mapping(_mapping(category[endpoint.name]).get("constraints"))
    return all(_holds(arguments.get(field), _mapping(rule)) for field, rule in constraints.items())


def _holds(value: Any, rule: Mapping[str, Any]) -> bool:
    try:
        number = float(value)
        return all(_OPS[op](number, float(bound)) for op, bound in rule.items())
    except (KeyError, TypeError, ValueError):
        return False


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
