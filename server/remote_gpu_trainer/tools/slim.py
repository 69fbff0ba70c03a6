"""Schemas without what repeats itself: a model pays for every byte of the tool list on every turn."""

from typing import Any, cast

from mcp.server.mcpserver.tools import Tool

Schema = dict[str, Any]


def slimmed(tool: Tool) -> Tool:
    """The same tool with lean schemas. They accept exactly what they accepted before."""
    tool.parameters = _lean(tool.parameters, drop=frozenset({"title"}))
    if tool.fn_metadata.output_schema is not None:
        lean = _lean(tool.fn_metadata.output_schema, drop=_NEVER_NEEDED)
        lean.pop("$defs", None)
        tool.fn_metadata.output_schema = cast(Schema, _shallow(lean))
    return tool


_NEVER_NEEDED = frozenset({"title", "description", "default", "required", "additionalProperties"})
"""The client only reads answers: names and types are what it needs of them."""


def _lean(schema: Schema, *, drop: frozenset[str]) -> Schema:
    lean: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            lean[key] = {name: _lean(one, drop=drop) for name, one in cast(dict[str, Schema], value).items()}
        elif key in drop or (key == "default" and value in (None, [], {}, "")) or (key, value) == _OPEN:
            continue
        elif key == "items" and isinstance(value, dict):
            lean[key] = _lean(cast(Schema, value), drop=drop)
        elif key == "anyOf":
            lean |= _either([_lean(one, drop=drop) for one in cast(list[Schema], value)])
        else:
            lean[key] = value
    return lean


def _shallow(value: object) -> object:
    """Rows inside an answer as plain objects: their names explain themselves when they are there."""
    if isinstance(value, dict):
        row = cast(Schema, value)
        return {"type": "object"} if "$ref" in row else {key: _shallow(one) for key, one in row.items()}
    return [_shallow(one) for one in cast(list[object], value)] if isinstance(value, list) else value


_OPEN = ("additionalProperties", True)


def _either(kinds: list[Schema]) -> Schema:
    """``anyOf`` as a list of types where that says the same."""
    rest = [one for one in kinds if one != {"type": "null"}]
    if len(rest) == 1 and len(kinds) == 2 and isinstance(rest[0].get("type"), str) and "enum" not in rest[0]:
        return {**rest[0], "type": [rest[0]["type"], "null"]}
    if all(set(one) == {"type"} for one in kinds):
        return {"type": [one["type"] for one in kinds]}
    return {"anyOf": kinds}
