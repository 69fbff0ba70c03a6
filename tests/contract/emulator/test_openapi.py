"""Answers against the platform's OpenAPI file, where one is given: documented statuses, and bodies that fit."""

import json
import os
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema
import pytest
import yaml

from tests.unit.emulator.renter import PUBLIC_KEY, Renter

Json = dict[str, Any]
ASIDE = {
    ("GET", "/api/v0/instances/{id}", "ports"): "an object on the live platform and in v1; the file's v0 says integers",
    ("GET", "/api/v0/instances/{id}", "extra_env"): "pairs on the live platform, in v1 and in the CLI; v0 says strings",
    ("GET", "/api/v0/instances/{id}/ssh", "ssh_keys"): "the file gives a list as text; the CLI reads either",
    ("POST", "/api/v0/bundles", "id"): "the example is an object where the schema says a list",
}


def _file() -> Path | None:
    given = os.environ.get("VAST_OPENAPI")
    path = Path(given) if given else Path(__file__).parents[3].parent / "shared" / "vast-openapi.yaml"
    return path if path.is_file() else None


@pytest.fixture(scope="module")
def spec() -> Json:
    path = _file()
    if path is None:
        pytest.skip("the platform's OpenAPI file is not here: set VAST_OPENAPI to its path to compare answers with it")
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both load safely


def _resolved(spec: Json, node: Any) -> Any:
    if isinstance(node, dict):
        node = cast("Json", node)
        if "$ref" in node:
            found: Any = spec
            for part in str(node["$ref"]).removeprefix("#/").split("/"):
                found = found[part]
            return _resolved(spec, found)
        return {key: _resolved(spec, value) for key, value in node.items() if key not in ("example", "examples")}
    if isinstance(node, list):
        return [_resolved(spec, value) for value in cast("list[Any]", node)]
    return node


def check(spec: Json, method: str, path: str, answer: httpx.Response) -> None:
    """The status is documented and the body fits its schema, but for what is told in ASIDE."""
    responses = spec["paths"][path][method.lower()]["responses"]
    assert str(answer.status_code) in responses, (method, path, answer.status_code, answer.text)
    content = _resolved(spec, responses[str(answer.status_code)]).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema is None or not answer.headers["content-type"].startswith("application/json"):
        return
    check_one: Any = jsonschema.Draft202012Validator(schema)  # its types are loose
    for error in check_one.iter_errors(answer.json()):
        told = [field for m, p, field in ASIDE if (m, p) == (method, path) and field in list(error.absolute_path)]
        assert told, f"{method} {path}: {error.message} at {list(error.absolute_path)}"


def test_answers_have_documented_statuses_and_fit_their_schemas(spec: Json, renter: Renter) -> None:
    offer, missing = renter.offer(), "99"
    key = renter.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY}).json()["key"]["id"]
    one = renter.running(renter.bid())
    volume = renter.api.post("/api/v0/volumes/search/", json={}).json()["offers"][0]["id"]
    rented = renter.api.put("/api/v0/volumes/", json={"id": volume, "size": 9}).json()["new_contract"]
    template = renter.api.post("/api/v0/template/", json={"name": "n", "image": "i"}).json()["template"]
    days, when = json.dumps({"day": {"gte": 0, "lte": 4e9}}), json.dumps({"when": {"gte": 0, "lte": 4e9}})
    calls: list[tuple[str, str, Json, Json]] = [
        ("POST", "/api/v0/bundles", {}, {"limit": 5}),
        ("POST", "/api/v0/bundles", {}, {"nothing": {"eq": 1}}),
        ("PUT", "/api/v0/asks/{id}", {"id": offer["id"]}, {"image": "ubuntu", "price": 1e-9}),
        ("PUT", "/api/v0/asks/{id}", {"id": missing}, {"image": "ubuntu"}),
        ("PUT", "/api/v0/asks/{id}", {"id": offer["id"]}, {"image": "ubuntu"}),
        ("GET", "/api/v0/instances/{id}", {"id": one}, {}),
        ("GET", "/api/v1/instances", {}, {}),
        ("PUT", "/api/v0/instances/bid_price/{id}", {"id": one}, {"client_id": "me", "price": 1}),
        ("PUT", "/api/v0/instances/bid_price/{id}", {"id": one}, {"client_id": "me", "price": 0}),
        ("PUT", "/api/v0/instances/bid_price/{id}", {"id": missing}, {"client_id": "me", "price": 1}),
        ("PUT", "/api/v0/instances/reboot/{id}", {"id": one}, {}),
        ("PUT", "/api/v0/instances/reboot/{id}", {"id": missing}, {}),
        ("PUT", "/api/v0/instances/recycle/{id}", {"id": missing}, {}),
        ("PUT", "/api/v0/instances/request_logs/{id}", {"id": one}, {"tail": "10"}),
        ("PUT", "/api/v0/instances/request_logs/{id}", {"id": missing}, {}),
        ("PUT", "/api/v0/instances/command/{id}", {"id": one}, {"command": "cat"}),
        ("POST", "/api/v0/instances/{id}/ssh", {"id": one}, {"ssh_key": PUBLIC_KEY}),
        ("GET", "/api/v0/instances/{id}/ssh", {"id": one}, {}),
        ("DELETE", "/api/v0/instances/{id}/ssh/{ssh_key_id}", {"id": one, "ssh_key_id": 1}, {}),
        ("GET", "/api/v0/ssh", {}, {}),
        ("PUT", "/api/v0/ssh/{id}", {"id": key}, {"ssh_key": PUBLIC_KEY}),
        ("DELETE", "/api/v0/ssh/{id}", {"id": key}, {}),
        ("DELETE", "/api/v0/ssh/{id}", {"id": key}, {}),
        ("GET", "/api/v0/users/current", {}, {}),
        ("GET", "/api/v0/volumes", {}, {}),
        ("POST", "/api/v0/volumes/search", {}, {}),
        ("DELETE", "/api/v0/volumes", {}, {"id": rented}),
        ("DELETE", "/api/v0/volumes", {}, {"id": rented}),
        ("GET", "/api/v0/charges", {"?": {"select_filters": days}}, {}),
        ("GET", "/api/v0/charges", {}, {}),
        ("GET", "/api/v1/invoices", {"?": {"select_filters": when}}, {}),
        ("GET", "/api/v1/invoices", {}, {}),
        ("PUT", "/api/v0/commands/copy_direct", {}, {"src_id": "1", "dst_id": "2", "src_path": "/a", "dst_path": "/b"}),
        ("DELETE", "/api/v0/commands/copy_direct", {}, {"dst_id": "x"}),
        ("POST", "/api/v0/commands/rclone", {}, {"instance_id": str(one), "src": "/a", "dst": "/b"}),
        ("GET", "/api/v0/template", {}, {}),
        ("PUT", "/api/v0/template", {}, {"hash_id": template["hash_id"], "desc": "d"}),
        ("DELETE", "/api/v0/template", {}, {"template_id": template["id"]}),
        ("DELETE", "/api/v0/template", {}, {"template_id": template["id"]}),
        ("POST", "/api/v0/secrets", {}, {"key": "a", "value": "b"}),
        ("GET", "/api/v0/secrets", {}, {}),
        ("PUT", "/api/v0/secrets", {}, {"key": "a", "value": "c"}),
        ("DELETE", "/api/v0/secrets", {}, {"key": "a"}),
        ("POST", "/api/v0/auth/apikeys", {}, {"name": "k", "permissions": {"api": {"misc": {}}}}),
        ("GET", "/api/v0/auth/apikeys", {}, {}),
        ("DELETE", "/api/v0/auth/apikeys/{id}", {"id": 1}, {}),
        ("GET", "/api/v0/users/cloud_integrations", {}, {}),
        ("GET", "/api/v0/subaccounts", {}, {}),
        ("GET", "/api/v0/users/{user_id}/ipaddrs", {"user_id": "me"}, {}),
        ("GET", "/api/v0/instances/balance/{id}", {"id": one}, {}),
        ("PUT", "/api/v0/instances/{id}", {"id": one}, {"state": "stopped"}),
        ("PUT", "/api/v0/instances/{id}", {"id": one}, {"state": "asleep"}),
        ("PUT", "/api/v0/instances/{id}", {"id": missing}, {"state": "stopped"}),
        ("DELETE", "/api/v0/instances/{id}", {"id": one}, {}),
        ("DELETE", "/api/v0/instances/{id}", {"id": one}, {}),
    ]
    for method, path, fill, body in calls:
        query = fill.pop("?", None)
        where = path.format(**fill)
        sent = None if method == "GET" else body
        check(spec, method, path, renter.api.request(method, where + "/", json=sent, params=query))
