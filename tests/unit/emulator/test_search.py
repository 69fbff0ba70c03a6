"""Searching the market: filters, order, prices, and what a rental does to it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.emulator.book import draw_book
from remote_gpu_trainer.emulator.filters import BadQuery, as_filters, matches, ordered
from tests.unit.emulator.renter import Renter

MENTIONED = (
    "id ask_contract_id machine_id host_id gpu_name num_gpus gpu_ram dph_total dph_base min_bid storage_cost "
    "inet_up_cost inet_down_cost inet_up inet_down reliability2 reliability verification direct_port_count "
    "cuda_max_good driver_version disk_space duration dlperf_per_dphtotal geolocation compute_cap rentable rented "
    "search instance"
).split()


def test_the_book_has_at_least_sixty_offers_with_every_kind_of_spread(renter: Renter) -> None:
    rows = renter.search(limit=500)
    assert len(rows) >= 60
    assert all(field in row for row in rows for field in MENTIONED)
    assert len({row["gpu_name"] for row in rows}) >= 8
    assert {row["verification"] for row in rows} >= {"verified", "unverified"}
    assert min(row["direct_port_count"] for row in rows) == 0
    assert min(row["reliability2"] for row in rows) < 0.98 < max(row["reliability2"] for row in rows)
    assert {row["inet_up_cost"] > 0 for row in rows} == {True, False}
    assert len({row["geolocation"][-2:] for row in rows}) >= 5
    assert len({row["cuda_max_good"] for row in rows}) >= 3
    assert {row["num_gpus"] for row in rows} >= {1, 2, 4}
    assert all(row["compute_cap"] >= 700 and row["dph_total"] > row["dph_base"] > 0 for row in rows)


def test_the_same_seed_draws_the_same_book_and_another_seed_another() -> None:
    def prices(seed: int) -> list[float]:
        return [offer.machine.price_per_gpu for offer in draw_book(seed, 1e9).offers.values()]

    assert prices(3) == prices(3) != prices(4)


def test_filters_take_numbers_and_booleans_as_text_and_names_with_underscores(renter: Renter) -> None:
    rows = renter.search(
        gpu_name={"eq": "RTX_4090"}, num_gpus={"gte": "1"}, verified={"eq": "true"}, reliability={"gt": "0.9"}
    )
    assert rows
    assert all(row["gpu_name"] == "RTX 4090" and row["verification"] == "verified" for row in rows)
    either = renter.search(gpu_name={"in": ["RTX_3090", "RTX_4090"]}, geolocation={"in": ["US", "CA"]})
    assert {row["gpu_name"] for row in either} <= {"RTX 3090", "RTX 4090"}
    assert {row["geolocation"][-2:] for row in either} <= {"US", "CA"}


def test_order_and_limit_hold(renter: Renter) -> None:
    rows = renter.search(order=[["dph_total", "asc"]], limit=7)
    assert len(rows) == 7
    assert [row["dph_total"] for row in rows] == sorted(row["dph_total"] for row in rows)
    down = renter.search(order=[["num_gpus", "desc"], ["dph_total", "asc"]], limit=500)
    keys = [(-row["num_gpus"], row["dph_total"]) for row in down]
    assert keys == sorted(keys)


def test_bids_are_priced_at_the_least_bid_and_disk_by_allocated_storage(renter: Renter) -> None:
    demand, bid = renter.offer(allocated_storage=100), renter.offer(type="bid", allocated_storage=0)
    assert demand["dph_total"] == pytest.approx(demand["dph_base"] + demand["storage_cost"] * 100 / 720)
    assert bid["dph_total"] == bid["min_bid"] < demand["dph_base"]
    assert bid["is_bid"] is True


def test_reserved_offers_are_priced_as_on_demand(renter: Renter) -> None:
    demand, reserved = renter.offer(), renter.offer(type="reserved")
    assert (reserved["id"], reserved["dph_base"], reserved["is_bid"]) == (demand["id"], demand["dph_base"], False)


def test_both_search_endpoints_agree(renter: Renter) -> None:
    query: dict[str, Any] = {"num_gpus": {"eq": 2}, "order": [["id", "asc"]]}
    envelope = renter.api.put("/api/v0/search/asks/", json={"select_cols": ["*"], "q": query}).json()["offers"]
    by_get = renter.api.get("/api/v0/bundles", params={"q": json.dumps(query)}).json()["offers"]
    assert renter.search(**query) == envelope == by_get


@pytest.mark.parametrize(
    "query",
    [
        {"no_such_field": {"eq": 1}},
        {"num_gpus": {"like": 1}},
        {"num_gpus": 4},
        {"num_gpus": {"gte": "many"}},
        {"num_gpus": {"in": 4}},
        {"type": "forever"},
        {"order": "dph_total"},
        {"order": [["nothing", "asc"]]},
        {"limit": "all"},
    ],
)
def test_a_bad_query_is_refused_in_the_platforms_form(renter: Renter, query: dict[str, Any]) -> None:
    answer = renter.api.post("/api/v0/bundles/", json=query)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


def test_a_rented_machine_leaves_the_search_as_its_gpus_go(renter: Renter) -> None:
    offer = renter.offer()
    whole: dict[str, Any] = {"machine_id": {"eq": offer["machine_id"]}, "rentable": {"eq": True}}
    assert {row["num_gpus"] for row in renter.search(**whole)} == {1, 2, 4}
    renter.rent(offer)
    assert {row["num_gpus"] for row in renter.search(**whole)} == {1, 2}
    assert all(row["rented"] for row in renter.search(**whole))
    for _ in range(3):
        renter.rent(offer)
    assert renter.search(**whole) == []


def test_a_machine_whose_host_is_gone_is_not_for_rent(renter: Renter) -> None:
    offer = renter.offer()
    renter.do(f"/machines/{offer['machine_id']}", online=False)
    assert renter.search(machine_id={"eq": offer["machine_id"]}, rentable={"eq": True}) == []
    assert renter.create(offer).status_code == 404


ROW = st.fixed_dictionaries({"a": st.none() | st.integers(-5, 5), "b": st.sampled_from(["x", "y", None])})


@given(rows=st.lists(ROW, max_size=12), bound=st.integers(-5, 5))
def test_a_filter_and_its_opposite_split_the_rows_that_have_a_value(rows: list[dict[str, Any]], bound: int) -> None:
    known = frozenset({"a", "b"})
    low = [row for row in rows if matches(row, as_filters({"a": {"lt": bound}}), known)]
    high = [row for row in rows if matches(row, as_filters({"a": {"gte": str(bound)}}), known)]
    assert len(low) + len(high) == sum(row["a"] is not None for row in rows)
    inside = [row for row in rows if matches(row, as_filters({"b": {"in": ["x"]}}), known)]
    outside = [row for row in rows if matches(row, as_filters({"b": {"notin": ["x"]}}), known)]
    assert len(inside) + len(outside) == len(rows)


@given(rows=st.lists(ROW, max_size=12))
def test_ordering_keeps_every_row_and_puts_nulls_last(rows: list[dict[str, Any]]) -> None:
    down = ordered(rows, [("a", "desc")], frozenset({"a"}))
    values = [row["a"] for row in down]
    have = [value for value in values if value is not None]
    assert values == sorted(have, reverse=True) + [None] * (len(rows) - len(have))


def test_an_unknown_field_in_an_order_is_refused() -> None:
    with pytest.raises(BadQuery, match="nothing is not a valid search key"):
        ordered([{"a": 1}], [("nothing", "asc")], frozenset({"a"}))
