"""What a doctor would see when the platform changed its answers."""

from typing import Any

import pytest

from remote_gpu_trainer.vastai.retry import RetryPolicy
from remote_gpu_trainer.vastai.shape import ShapeProblem, compare_rows, compare_shapes
from remote_gpu_trainer.vastai.wire import WireInstance, WireOffer
from tests.unit.vastai.samples import ACCOUNT, a_page, an_instance, an_offer
from tests.unit.vastai.scripted import Reply, Seen, connected, ok, text


def problems(model: type[WireInstance | WireOffer], *rows: dict[str, Any]) -> set[tuple[str, str, int]]:
    return {(f.field, f.problem.value, f.rows) for f in compare_rows("x", list(rows), model)}


def test_answers_as_documented_raise_no_finding() -> None:
    assert problems(WireInstance, an_instance(), an_instance(actual_status=None, ports=None, unheard_of=1)) == set()
    assert problems(WireOffer, an_offer(), an_offer(reliability2=None)) == set()
    assert problems(WireOffer) == set()


def test_each_kind_of_difference_is_named() -> None:
    row = an_instance()
    del row["is_bid"]
    assert problems(WireInstance, row) == {("is_bid", "missing", 1)}
    assert problems(WireInstance, row, an_instance()) == {("is_bid", "null", 1)}
    assert problems(WireInstance, an_instance(machine_id="m-178")) == {("machine_id", "type", 1)}
    assert problems(WireInstance, an_instance(ports=[8080])) == {("ports", "type", 1)}
    assert problems(WireInstance, an_instance(actual_status="asleep")) == {("actual_status", "value", 1)}
    assert problems(WireInstance, an_instance(cur_state="moving")) == {("cur_state", "value", 1)}
    assert problems(WireOffer, an_offer(dph_base=None)) == {("dph_base", "null", 1)}


def test_a_finding_quotes_types_and_never_values() -> None:
    found = compare_rows("x", [an_instance(machine_id="secret-name", status_msg={"token": "secret"})], WireInstance)
    assert len(found) == 2 and "secret" not in str(found)


@pytest.mark.anyio
async def test_all_endpoints_that_a_run_needs_are_compared() -> None:
    def answer(seen: Seen) -> Reply:
        match seen.path.strip("/").split("/")[2]:
            case "users":
                return ok(ACCOUNT | {"id": None})
            case "instances":
                return ok(a_page(an_instance(is_bid=None)))
            case "bundles":
                return ok({"offers": {}})
            case "volumes":
                return text("", 500)
            case _:
                return ok([{"key": 5.5, "public_key": {"a": 1}}])

    async with connected(retry=RetryPolicy(attempts=1)) as (server, client, _):
        server.answerer = answer
        found = await compare_shapes(client)
    assert {(f.endpoint.split("/")[-2], f.field, f.problem) for f in found} == {
        ("current", "id", ShapeProblem.NULL),
        ("instances", "is_bid", ShapeProblem.NULL),
        ("bundles", "offers", ShapeProblem.UNANSWERED),
        ("volumes", "", ShapeProblem.UNANSWERED),
        ("ssh", "public_key", ShapeProblem.TYPE),
    }
    assert all(seen.method in ("GET", "POST") for seen in server.seen)
