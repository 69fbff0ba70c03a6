"""Garbage in: an answer in the platform's form or a closed connection, and it goes on serving."""

import contextlib
import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_gpu_trainer.emulator.http.app import ENDPOINTS
from tests.unit.emulator.renter import Renter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
WORDS = st.sampled_from(
    "image disk price label env onstart args runtype state ids q order limit type ssh_key key value id size "
    "src_id dst_id src_path dst_path tail filter command instance_ids name permissions num_gpus "
    "instance_id selected transfer".split()
)
BODIES = st.dictionaries(WORDS | st.text(max_size=8), JSON, max_size=6)


def fits(answer: httpx.Response) -> None:
    """No fault of ours, and the platform's form."""
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if answer.headers["content-type"] == "application/json":
        answer.json()


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(endpoint=st.sampled_from(ENDPOINTS), body=JSON | BODIES, ident=st.text(max_size=12) | st.integers().map(str))
def test_any_body_on_any_endpoint_gets_an_answer(renter: Renter, endpoint: Any, body: Any, ident: str) -> None:
    named = quote(ident, safe="") or "0"
    path = "/".join(named if part.startswith("{") else part for part in endpoint.path.split("/"))
    fits(renter.api.request(endpoint.method, path, content=json.dumps(body)))


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(endpoint=st.sampled_from([e for e in ENDPOINTS if "{id}" in e.path and e.method != "DELETE"]), body=BODIES)
def test_any_body_on_a_real_instance_gets_an_answer(renter: Renter, endpoint: Any, body: dict[str, Any]) -> None:
    held = renter.look("/instances")["instances"]
    contract = held[0]["id"] if held else renter.running(renter.bid())
    path = endpoint.path.replace("{id}", str(contract)).replace("{ssh_key_id}", "1")
    fits(renter.api.request(endpoint.method, path, content=json.dumps(body)))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/api/v1/instances/", "/api/v0/charges/", "/api/v1/invoices/", "/api/v0/template/"]),
    query=st.dictionaries(
        st.sampled_from("select_filters order_by select_cols limit after_token latest_first".split()),
        JSON.map(json.dumps) | st.text(max_size=12),
        max_size=4,
    ),
)
def test_any_query_gets_an_answer(renter: Renter, path: str, query: dict[str, str]) -> None:
    fits(renter.api.get(path, params=query))


@pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000])
def test_a_body_that_is_no_json_object_is_400(renter: Renter, raw: bytes) -> None:
    answer = renter.api.post("/api/v0/bundles/", content=raw)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_huge_body_is_refused(renter: Renter) -> None:
    answer = renter.api.post("/api/v0/bundles/", content=b" " * 2_000_000)
    assert answer.status_code == 400


def test_unknown_paths_are_404_and_wrong_methods_405_in_the_platforms_form(renter: Renter) -> None:
    for path in ("/", "/api/v0/nothing/", "/api/v0/../../etc/passwd", "/api/v9/instances/", "/_emulator/nothing"):
        answer = renter.api.get(path)
        assert (answer.status_code, answer.json()["success"]) == (404, False)
    wrong = renter.api.patch("/api/v0/bundles/")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
    assert wrong.json()["error"] == "method_not_allowed"


def test_the_control_surface_wants_its_own_token(renter: Renter) -> None:
    for headers in ({}, {"Authorization": f"Bearer {renter.ready.api_key}"}):
        answer = httpx.get(renter.ready.control_url + "/state", headers=headers, trust_env=False)
        assert answer.status_code == 403
    assert renter.control.post("/clock", content=b"{").status_code == 400
    assert renter.control.post("/clock", json={"advance_s": -1}).status_code == 400
    assert renter.control.post("/instances/1/preempt", json={}).status_code == 409


@pytest.fixture
def address(renter: Renter) -> tuple[str, int]:
    url = httpx.URL(renter.ready.url)
    return url.host, url.port or 0


def raw(address: tuple[str, int], request: bytes) -> bytes:
    """All that comes back before the connection closes or falls silent."""
    with socket.create_connection(address, 5) as line:
        line.settimeout(2)
        line.sendall(request)
        got = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while data := line.recv(65_536):
                got += data
                if b"\r\n\r\n" in got and got.endswith((b"}", b">")):
                    break
        return got


@pytest.mark.parametrize(
    "target",
    [
        "/api/v0/../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/vast.ai/instance_logs/..%2f..%2femulator.sqlite3",
        "/vast.ai/instance_logs/../../emulator.sqlite3",
        "/api/v0/instances/..%2fusers%2fcurrent/",
        "/_emulator/../etc/passwd",
        "/_emulator/instances/1%2f..%2f..%2fstate",
        "http://elsewhere/etc/passwd",
        "/api/v0/instances/" + "9" * 8_000 + "/",
        "/\x00",
        "*",
    ],
)
def test_a_path_that_wants_out_finds_nothing(renter: Renter, address: tuple[str, int], target: str) -> None:
    key = f"Host: x\r\nAuthorization: Bearer {renter.ready.api_key}\r\n\r\n"
    got = raw(address, f"GET {target} HTTP/1.1\r\n{key}".encode())
    status = int(got.split(b" ", 2)[1]) if got else 404
    assert status in (400, 403) or b'"success":false' in got or got.endswith(b'{"instances": null}'), got[:200]
    assert b"SQLite" not in got
    assert b"root:" not in got
    assert renter.api.get("/api/v0/users/current").status_code == 200


def test_headers_without_end_are_refused(renter: Renter, address: tuple[str, int]) -> None:
    got = raw(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000)
    assert got == b"" or got.startswith(b"HTTP/1.1 4")
    assert renter.api.get("/api/v0/users/current").status_code == 200


def test_two_hundred_clients_that_never_finish_do_not_stop_it(renter: Renter, address: tuple[str, int]) -> None:
    head = b"POST /api/v0/bundles/ HTTP/1.1\r\nHost: x\r\nContent-Le"
    key = f"Authorization: Bearer {renter.ready.api_key}".encode()
    body = b"PUT /api/v0/asks/1/ HTTP/1.1\r\nHost: x\r\n" + key + b"\r\nContent-Length: 5000\r\n\r\n{"
    with contextlib.ExitStack() as lines:
        slow = [lines.enter_context(socket.create_connection(address, 5)) for _ in range(200)]
        for start in (head, body):
            for line in slow[::2] if start is head else slow[1::2]:
                line.sendall(start)
        for line in slow:
            line.sendall(b"x")  # one more byte, as such a client would
        assert renter.search(limit=1)
        assert renter.create(renter.offer()).status_code == 200


def test_a_body_that_says_to_be_endless_is_cut_off(renter: Renter, address: tuple[str, int]) -> None:
    key = f"Authorization: Bearer {renter.ready.api_key}".encode()
    head = b"POST /api/v0/bundles/ HTTP/1.1\r\nHost: x\r\n" + key + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = raw(address, head + b"10000\r\n" + b" " * 0x10000 + b"\r\n" + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 20)
    assert got == b"" or got.startswith(b"HTTP/1.1 400")
    assert renter.api.get("/api/v0/users/current").status_code == 200


def test_raw_noise_and_a_client_that_never_finishes_do_not_stop_it(renter: Renter) -> None:
    address = (httpx.URL(renter.ready.url).host, httpx.URL(renter.ready.url).port)
    with socket.create_connection(address, 5) as noise, socket.create_connection(address, 5) as slow:
        slow.sendall(b"POST /api/v0/bundles/ HTTP/1.1\r\nHost: x\r\nContent-Le")
        noise.sendall(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert noise.recv(100).startswith(b"HTTP/1.1 400")
        assert renter.api.get("/api/v0/users/current").status_code == 200
