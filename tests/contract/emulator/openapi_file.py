"""The platform's OpenAPI file, where one is given, with the places mended in which it contradicts the platform."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from remote_gpu_trainer.emulator.http.app import ENDPOINTS
from remote_gpu_trainer.emulator.http.offers import OPEN_ROUTES

Json = dict[str, Any]
NOT_HERE = "the platform's OpenAPI file is not here: set VAST_OPENAPI to its path to compare answers with it"
ANYTHING: Json = {}


def find() -> Path | None:
    """The file that ``VAST_OPENAPI`` names, or the one in a folder ``shared`` beside the checkout."""
    given = os.environ.get("VAST_OPENAPI")
    path = Path(given) if given else Path(__file__).parents[3].parent / "shared" / "vast-openapi.yaml"
    return path if path.is_file() else None


def load(path: Path) -> Json:
    """The file, mended, with all references resolved and only what the emulator serves."""
    raw: Json = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both load safely
    _mend(raw)
    paths: Json = {}
    for where, item in cast("Json", raw["paths"]).items():
        served = {method: operation for method, operation in item.items() if (method.upper(), where) in _served()}
        if served:
            paths[where.rstrip("/")] = served | {k: v for k, v in item.items() if k == "parameters"}
    raw["paths"] = paths
    return resolved(raw, {key: value for key, value in raw.items() if key != "components"})


def operations(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Method and path of everything that is in the file and served."""
    return [(m.upper(), where) for where, item in spec["paths"].items() for m in item if m != "parameters"]


def _served() -> set[tuple[str, str]]:
    ways = {(e.method, e.path) for e in [*ENDPOINTS, *OPEN_ROUTES]}
    return ways | {(method, where + "/") for method, where in ways}


def _mend(raw: Json) -> None:
    """Put right what the live platform, v1 or the CLI show otherwise; each line says who."""
    shown = raw["components"]["schemas"]["Instance"]["properties"]
    shown["ports"] = {"type": ["object", "null"]}  # an object on the live platform and in v1; v0 says integers
    pairs = {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}
    shown["extra_env"] = pairs  # pairs on the live platform, in v1 and in the CLI; v0 says strings
    one = _schema(raw, "/api/v0/instances/{id}", "get")["properties"]
    one["instances"] = {"anyOf": [one["instances"], {"type": "null"}]}  # null for a missing one, seen live
    keys = _schema(raw, "/api/v0/instances/{id}/ssh", "get")["properties"]
    keys["ssh_keys"] = {"type": ["array", "string"]}  # the file gives a list as text; the CLI reads either


def _schema(raw: Json, where: str, method: str) -> Json:
    item = raw["paths"].get(where) or raw["paths"][where + "/"]
    return item[method]["responses"]["200"]["content"]["application/json"]["schema"]


def resolved(spec: Json, node: Any) -> Any:
    """A part of the file with its references put in."""
    if isinstance(node, dict):
        node = cast("Json", node)
        if "$ref" in node:
            found: Any = spec
            for part in str(node["$ref"]).removeprefix("#/").split("/"):
                found = found[part]
            return resolved(spec, found)
        return {key: resolved(spec, value) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(spec, value) for value in cast("list[Any]", node)]
    return node
