"""Rows with odd types are read, rows without an id or a price are not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.vastai.translate import (
    Incomplete,
    account_of,
    charges_of,
    instance_of,
    moment,
    offer_of,
    volume_of,
)
from tests.unit.vastai.samples import ACCOUNT, an_instance, an_offer

BID, FIXED = RentalType.INTERRUPTIBLE, RentalType.ON_DEMAND
DIRECT = Endpoint(kind=EndpointKind.DIRECT, host="63.135.50.11", port=40022)


def proxy(port: int) -> Endpoint:
    return Endpoint(kind=EndpointKind.PROXY, host="ssh6.vast.ai", port=port)


def test_an_offer_is_read_in_our_units() -> None:
    offer = offer_of(an_offer(), FIXED)
    assert offer.id == 30094969
    assert offer.gpu_usd_per_hour == 0.4
    assert round(offer.gpu_ram_gib, 1) == 24.0
    assert offer.remaining_hours == 240
    assert (offer.egress_usd_per_gb, offer.ingress_usd_per_gb) == (0.01, 0.002)


def test_an_interruptible_costs_what_a_bid_must_reach() -> None:
    assert offer_of(an_offer(), BID).gpu_usd_per_hour == 0.12


def test_numbers_in_text_and_unknown_fields_are_read() -> None:
    odd = an_offer(machine_id="10770", dph_base="0.4", num_gpus=1.0, cuda_max_good="12.4", surprise={"a": [1]})
    assert offer_of(odd, FIXED) == offer_of(an_offer(), FIXED)


@pytest.mark.parametrize("wrong", [None, "soon", True, [], {}, -1, float("nan"), float("inf"), 10**400])
@pytest.mark.parametrize(
    "field",
    ["machine_id", "host_id", "num_gpus", "gpu_ram", "dph_base", "storage_cost", "inet_up_cost", "inet_down_cost",
     "direct_port_count", "disk_space"],
)  # fmt: skip
def test_an_offer_without_a_deciding_fact_is_no_offer(field: str, wrong: Any) -> None:
    with pytest.raises(Incomplete, match=field):
        offer_of(an_offer(**{field: wrong}), FIXED)


def test_an_offer_without_any_id_or_bid_or_verification_is_no_offer() -> None:
    for changed in ({"id": None, "ask_contract_id": None}, {"verification": None}, {"gpu_name": ""}):
        with pytest.raises(Incomplete):
            offer_of(an_offer(**changed), FIXED)
    with pytest.raises(Incomplete, match="min_bid"):
        offer_of(an_offer(min_bid=None), BID)


def test_facts_that_hosts_leave_out_stay_unknown() -> None:
    offer = offer_of(an_offer(reliability2=None, duration=None, cuda_max_good=None, inet_up="?"), FIXED)
    assert offer.reliability is offer.remaining_hours is offer.cuda_max is offer.inet_up_mbps is None


@pytest.mark.parametrize(("word", "verified"), [("verified", True), ("unverified", False), ("deverified", False)])
def test_only_the_word_verified_is_verified(word: str, verified: bool) -> None:
    assert offer_of(an_offer(verification=word), FIXED).verified is verified


def test_an_instance_is_read_whole() -> None:
    found = instance_of(an_instance(), loopback_ok=False)
    assert (found.id, found.machine_id, found.lease) == (7, 178, "digits-k3vq7m")
    assert found.endpoints == (DIRECT, proxy(10882))
    assert found.ports == {"22/tcp": 40022, "8080/tcp": 40080}
    assert (found.gpu_usd_per_hour, found.usd_per_hour_now, found.bid_usd_per_hour) == (0.2, 0.204, 0.2)
    assert found.started_at is not None and found.started_at.isoformat().startswith("2025-10-21T01:03:38")


@pytest.mark.parametrize("field", ["id", "machine_id", "is_bid"])
def test_an_instance_without_identity_or_rental_is_not_guessed(field: str) -> None:
    with pytest.raises(Incomplete, match=field):
        instance_of(an_instance(**{field: None}), loopback_ok=False)


def test_a_jupyter_box_has_both_candidates_for_its_proxy_port() -> None:
    found = instance_of(an_instance(image_runtype="jupyter_direc ssh_direc ssh_proxy"), loopback_ok=False)
    assert found.endpoints == (DIRECT, proxy(10883), proxy(10882))


@pytest.mark.parametrize(
    "ports", [None, [], {}, [8080, 8081], "x", {"22/tcp": None}, {"22/tcp": [{"HostPort": "70000"}]}]
)
def test_ports_that_are_not_there_yet_leave_the_proxy(ports: Any) -> None:
    assert instance_of(an_instance(ports=ports), loopback_ok=False).endpoints == (proxy(10882),)


HOSTILE = [
    "",
    " ",
    None,
    "127.0.0.1",
    "::1",
    "localhost",
    "x.localhost",
    "169.254.169.254",
    "224.0.0.1",
    "0.0.0",
    "-oProxyCommand=x",
    "a b",
    "a..b",
    "host;rm",
    "host\nevil",
    "1.2.3",
    "999.1.1.1",
    "ünïcode",
    "x" * 300,
    "::",
]


@pytest.mark.parametrize("host", HOSTILE)
def test_an_address_that_ssh_must_not_go_to_is_dropped(host: str | None) -> None:
    assert instance_of(an_instance(public_ipaddr=host, ssh_host=host), loopback_ok=False).endpoints == ()


def test_an_emulator_may_name_this_machine() -> None:
    found = instance_of(an_instance(public_ipaddr="127.0.0.1\n", ssh_host="127.0.0.1"), loopback_ok=True)
    assert [e.host for e in found.endpoints] == ["127.0.0.1", "127.0.0.1"]


def test_text_that_no_file_could_hold_is_made_harmless() -> None:
    blob = json.loads(json.dumps(an_instance(label="\ud800x\x00", status_msg="y" * 10_000)))
    found = instance_of(blob, loopback_ok=False)
    assert found.label == "?x"
    assert len(found.raw.message or "") == 4096
    found.model_dump_json()


@pytest.mark.parametrize("when", [None, 0, -5, 1e18, "x", float("nan")])
def test_a_moment_that_no_calendar_holds_is_none(when: Any) -> None:
    assert instance_of(an_instance(end_date=when), loopback_ok=False).ends_at is None
    assert moment(None) is None


def test_the_account_has_its_credit_or_else_its_balance() -> None:
    assert account_of(ACCOUNT).credit == 12.5
    assert account_of({"id": 1, "balance": "3.5", "has_billing": 1}).model_dump() == {
        "id": 1, "credit": 3.5, "balance_threshold": None, "can_pay": True,
    }  # fmt: skip
    for lacking in ({"id": 1}, {"credit": 5}, {"id": None, "credit": 5}):
        with pytest.raises(Incomplete):
            account_of(lacking)


def test_a_bill_is_split_by_kind_and_never_guessed() -> None:
    items = [{"type": "gpu", "amount": 1.5, "start": 1761008618}, {"type": "disk", "amount": "0.2"}]
    row = {"type": "instance", "source": "instance-7", "amount": 1.7, "start": 1761000000, "items": items}
    assert [(c.kind, c.instance_id, c.amount) for c in charges_of(row)] == [("gpu", 7, 1.5), ("disk", 7, 0.2)]
    assert charges_of(row | {"items": [], "type": "volume", "source": "volume-7"})[0].instance_id is None
    with pytest.raises(Incomplete, match="amount"):
        charges_of(row | {"items": [{"type": "gpu"}]})


def test_a_volume_needs_only_its_id() -> None:
    assert volume_of({"id": "5", "instances": [{"id": 7}, "x"]}).instance_ids == (7,)
    with pytest.raises(Incomplete):
        volume_of({"label": "V"})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
blobs = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=4), scalars, max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(an_instance())), blobs))
def test_a_strange_row_is_an_instance_or_incomplete(changed: dict[str, Any]) -> None:
    try:
        found = instance_of(an_instance(**changed), loopback_ok=False)
    except Incomplete:
        return
    found.model_dump_json()


@given(st.dictionaries(st.sampled_from(sorted(an_offer())), blobs), st.sampled_from(RentalType))
def test_a_strange_row_is_an_offer_with_prices_or_incomplete(changed: dict[str, Any], rental: RentalType) -> None:
    try:
        found = offer_of(an_offer(**changed), rental)
    except Incomplete:
        return
    assert found.id > 0 and found.gpu_usd_per_hour >= 0
