"""Requests drawn from the platform's OpenAPI file: documented statuses, bodies that fit, and no fault of ours."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks

from remote_gpu_trainer.emulator.service import Emulator
from tests.contract.emulator import openapi_file
from tests.unit.emulator.renter import PUBLIC_KEY, Renter

CASES_PER_OPERATION = 52
LEAST_CASES = 2_000
OPENAPI_CHECKS: Any = checks  # its types are loose
CHECKS = [OPENAPI_CHECKS.status_code_conformance, OPENAPI_CHECKS.response_schema_conformance]
FILE = openapi_file.find()
SPEC: dict[str, Any] = openapi_file.load(FILE) if FILE else {"paths": {}}
OPERATIONS = openapi_file.operations(SPEC)
VARIED = [(m, w) for m, w in OPERATIONS if {"parameters", "requestBody"} & SPEC["paths"][w][m.lower()].keys()]
"""Operations that take anything: of the others there is only one request to draw."""


class Estate:
    """What a generated request can meet: things that exist, made anew when a request has deleted them."""

    def __init__(self, renter: Renter) -> None:
        self.renter = renter
        self.offers = [offer["id"] for offer in renter.search(limit=200)]
        self._known: dict[str, dict[str, int]] = {}
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {renter.ready.api_key}"

    def real(self, where: str, *, afresh: bool) -> dict[str, int]:
        """Path parameters that name something real, for one path; looked up again when the last one may be gone."""
        if afresh or where not in self._known:
            self._known[where] = self._real(where)
        return self._known[where]

    def _real(self, where: str) -> dict[str, int]:
        if where.startswith("/api/v0/asks"):
            return {"id": self.offers[len(self.renter.look("/instances")["instances"]) % len(self.offers)]}
        if where.startswith("/api/v0/ssh"):
            return {"id": self._ssh_key()}
        if "/instances/" in where:
            return {"id": self._instance(), "ssh_key_id": self._ssh_key()}
        return {}

    def _ssh_key(self) -> int:
        known = self.renter.api.get("/api/v0/ssh/").json()
        if known:
            return known[0]["id"]
        return self.renter.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY}).json()["key"]["id"]

    def _instance(self) -> int:
        rows = self.renter.api.get("/api/v1/instances/").json()["instances"]
        running = [row["id"] for row in rows if row["actual_status"] == "running"]
        return running[0] if running else self.renter.running(self.renter.bid(2.0))


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with Emulator(tmp_path_factory.mktemp("state"), speed=0, ssh="none") as ready, Renter(ready) as person:
        person.do("/quirks", **{"lively-market": False, "reads-lag": False, "reappears": False})
        person.do("/account", balance_usd=1_000_000)
        yield Estate(person)


def test_the_file_is_here_and_more_than_two_thousand_cases_are_drawn_from_it() -> None:
    if FILE is None:
        pytest.skip(openapi_file.NOT_HERE)
    assert len(VARIED) * CASES_PER_OPERATION >= LEAST_CASES


@pytest.mark.skipif(FILE is None, reason=openapi_file.NOT_HERE)
@pytest.mark.parametrize(("method", "where"), OPERATIONS, ids=[f"{m} {w}" for m, w in OPERATIONS])
def test_any_request_of_the_file_gets_an_answer_of_the_file(estate: Estate, method: str, where: str) -> None:
    loader: Any = schemathesis.openapi  # its types are loose
    operation = loader.from_dict(SPEC)[where][method]
    drawn = 0

    @seed(20_260_801)
    @settings(
        max_examples=CASES_PER_OPERATION,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy(), real=st.booleans())
    def ask(case: Any, real: bool) -> None:
        nonlocal drawn
        drawn += 1
        if real:
            known = estate.real(where, afresh=method == "DELETE" or "/asks/" in where)
            case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
        answer = case.call(base_url=estate.renter.ready.url, session=estate.session)
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=CHECKS)

    ask()
    assert drawn >= (CASES_PER_OPERATION if (method, where) in VARIED else 1)
