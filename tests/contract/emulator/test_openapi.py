"""Answers against the platform's OpenAPI file, where one is given: documented statuses, and bodies that fit."""

import json
import re
from typing import Any, cast

import httpx
import jsonschema
import pytest

from remote_gpu_trainer.emulator.http.app import ENDPOINTS
from tests.contract.emulator import openapi_file
from tests.unit.emulator.renter import PUBLIC_KEY, Renter

Json = dict[str, Any]


@pytest.fixture(scope="module")
def spec() -> Json:
    path = openapi_file.find()
    if path is None:
        pytest.skip(openapi_file.NOT_HERE)
    return openapi_file.load(path)


def check(spec: Json, method: str, path: str, answer: httpx.Response) -> None:
    """The status is documented and the body fits its schema."""
    responses = spec["paths"][path][method.lower()]["responses"]
    assert str(answer.status_code) in responses, (method, path, answer.status_code, answer.text)
    schema = responses[str(answer.status_code)].get("content", {}).get("application/json", {}).get("schema")
    if schema is not None and answer.headers["content-type"].startswith("application/json"):
        fits(answer.json(), schema, f"{method} {path}")


def fits(body: Any, schema: Json, what: str) -> None:
    check_one: Any = jsonschema.Draft202012Validator(schema)  # its types are loose
    for error in check_one.iter_errors(body):
        raise AssertionError(f"{what}: {error.message} at {list(error.absolute_path)}")


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


OPTIONAL = {
    "metadata": "keys are there only when the contract has them, says the file",
    "credit_discount": "a reserved discount, of which there is none here",
}
"""Objects and fields whose presence is not asked, and why."""


def demanding(schema: Any) -> Any:
    """The same schema with every field that it names required."""
    if isinstance(schema, list):
        return [demanding(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    schema = {key: demanding(value) for key, value in cast("Json", schema).items()}
    named = schema.get("properties")
    if isinstance(named, dict):
        schema["required"] = [name for name in cast("Json", named) if name not in OPTIONAL]
        for name in OPTIONAL.keys() & cast("Json", named).keys():
            named[name] = {}
    return schema


def test_every_field_that_the_file_names_is_there(spec: Json, renter: Renter) -> None:
    renter.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY})
    volume = renter.api.post("/api/v0/volumes/search/", json={}).json()["offers"][0]["id"]
    renter.api.put("/api/v0/volumes/", json={"id": volume, "size": 9})
    renter.api.post("/api/v0/template/", json={"name": "n", "image": "ubuntu:22.04", "onstart": "true"})
    renter.api.post("/api/v0/secrets/", json={"key": "A", "value": "b"})
    renter.do("/connections", cloud_type="s3", name="bucket")
    one = renter.running(renter.bid(label="named", onstart="true", env={"A": "b", "-p 8080:8080": "1"}))
    renter.wait(3600)
    days, when = json.dumps({"day": {"gte": 0, "lte": 4e9}}), json.dumps({"when": {"gte": 0, "lte": 4e9}})
    reads: list[tuple[str, str, Json | None, Json]] = [
        ("GET", "/api/v0/instances/{id}", None, {}),
        ("GET", "/api/v1/instances", None, {}),
        ("GET", "/api/v0/instances/{id}/ssh", None, {}),
        ("GET", "/api/v0/ssh", None, {}),
        ("GET", "/api/v0/users/current", None, {}),
        ("GET", "/api/v0/volumes", None, {}),
        ("POST", "/api/v0/volumes/search", {}, {}),
        ("GET", "/api/v0/charges", None, {"select_filters": days}),
        ("GET", "/api/v1/invoices", None, {"select_filters": when}),
        ("GET", "/api/v0/template", None, {}),
        ("GET", "/api/v0/secrets", None, {}),
        ("GET", "/api/v0/auth/apikeys", None, {}),
        ("GET", "/api/v0/users/cloud_integrations", None, {}),
        ("GET", "/api/v0/subaccounts", None, {}),
        ("GET", "/api/v0/users/{user_id}/ipaddrs", None, {}),
        ("GET", "/api/v0/instances/balance/{id}", None, {}),
        ("PUT", "/api/v0/instances/request_logs/{id}", {"tail": "10"}, {}),
    ]
    for method, path, body, query in reads:
        where = path.format(id=one, user_id="me")
        answer = renter.api.request(method, where + "/", json=body, params=query)
        assert answer.status_code == 200, (path, answer.text)
        schema = spec["paths"][path][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
        fits(answer.json(), demanding(schema), path)


def test_every_field_of_the_files_example_offer_is_there_and_of_its_type(spec: Json, renter: Renter) -> None:
    content = spec["paths"]["/api/v0/bundles"]["post"]["responses"]["200"]["content"]["application/json"]
    example: Json = content["example"]["offers"]
    kinds = ((int, float), str, list, dict)
    offers = renter.search(limit=200)
    assert offers and len(example) > 50
    for offer in offers:
        for name, value in example.items():
            assert name in offer, name
            if value is None or offer[name] is None:
                continue
            same = any(isinstance(value, kind) and isinstance(offer[name], kind) for kind in kinds)
            assert same, (name, value, offer[name])


def test_every_endpoint_wants_the_interval_that_the_file_names(spec: Json) -> None:
    told: dict[tuple[str, str], float] = {}
    for method, where in openapi_file.operations(spec):
        refused = spec["paths"][where][method.lower()]["responses"].get("429")
        if found := re.search(r"endpoint threshold=(\d+(?:\.\d+)?)", json.dumps(refused)):
            told[method, where] = float(found[1])
    served = {(e.method, e.path): e.threshold_s for e in ENDPOINTS}
    assert len(told) >= 30
    assert {way: served[way] for way in told} == told
