"""Every field of volumes, charges, payments and the user has its type, its unit and a plausible value."""

import json
from typing import Any, cast

import pytest

from tests.contract.emulator.plausible import (
    MACHINE,
    NOW_LEAST,
    Fits,
    between,
    ident,
    one_of,
    shown,
    text,
    truth,
    wrong,
)
from tests.unit.emulator.renter import PUBLIC_KEY, Renter

VOLUME_OFFER: dict[str, Fits] = {
    name: MACHINE[name]
    for name in (
        "machine_id host_id cpu_ghz cpu_name cuda_max_good disk_bw driver_version duration end_date geolocation "
        "inet_up inet_down reliability2 static_ip storage_cost verification"
    ).split()
} | {
    "id": ident,
    "ask_contract_id": ident,
    "cpu_arch": one_of("amd64"),
    "disk_name": text(),
    "disk_space": between(5, 20_000),  # GB
    "mobo_name": text(),
    "reliability": between(0.5, 1.0),
    "start_date": between(NOW_LEAST, 1e10),
    "storage_total_cost": between(0.00001, 1),  # USD an hour
}
VOLUME: dict[str, Fits] = {
    name: MACHINE[name]
    for name in (
        "machine_id host_id cpu_name cuda_max_good driver_version duration geolocation inet_up inet_down reliability2 "
        "static_ip verification"
    ).split()
} | {
    "id": ident,
    "cluster_id": one_of(None),
    "cpu_arch": one_of("amd64"),
    "disk_name": text(),
    "disk_space": one_of(12),  # GB
    "end_date": between(NOW_LEAST, 1e10),
    "instances": one_of([]),
    "label": text(r"V\.\d+"),
    "mobo_name": text(),
    "os_version": text(r"\d\d\.\d\d"),
    "public_ipaddr": text(r"\d+\.\d+\.\d+\.\d+"),
    "start_date": between(NOW_LEAST, 1e10),
    "status": one_of("created"),
    "storage_total_cost": between(0.00001, 1),  # USD an hour
}
CHARGE_ITEM: dict[str, Fits] = {
    "start": between(NOW_LEAST, 1e10, whole=True),
    "end": between(NOW_LEAST, 1e10, whole=True),
    "type": one_of("gpu", "disk", "bwu", "bwd"),
    "source": one_of(None),
    "description": text(r"[\d.]+ (hours|GB) at \$[\d.e-]+/(hour|GB)"),
    "amount": between(0, 100),  # USD
    "metadata": one_of({}),
    "items": one_of([]),
}


def charge_items(value: Any) -> bool:
    return bool(value) and not any(wrong(item, CHARGE_ITEM) for item in cast("list[Any]", value))


def paid_by(value: Any) -> bool:
    return set(value) == {"invoice_id", "service"}


CHARGE: dict[str, Fits] = CHARGE_ITEM | {
    "type": one_of("instance"),
    "source": text(r"instance-\d+"),
    "description": text(r"Instance \d+ Charges - \d+ days"),
    "metadata": one_of({"label": "billed"}),
    "items": charge_items,
}
PAYMENT: dict[str, Fits] = CHARGE_ITEM | {
    "start": between(NOW_LEAST, 1e10),
    "end": between(NOW_LEAST, 1e10),
    "type": one_of("credit"),
    "source": one_of("stripe"),
    "description": text(),
    "amount": one_of(-100.0),
    "metadata": paid_by,
}
REPORTED: dict[str, Fits] = {
    "description": text(),
    "quantity": text(r".*"),
    "rate": text(r".*"),
    "amount": text(r"\d+\.\d+"),  # USD
    "timestamp": between(NOW_LEAST, 1e10),
    "type": one_of("charge", "payment"),
}
USER: dict[str, Fits] = {
    "id": ident,
    "key_id": ident,
    "user": one_of(None),
    "email": text(r".+@.+"),
    "fullname": text(),
    "username": text(),
    "sid": text(r"[0-9a-f]+"),
    "ssh_key": text(r"ssh-ed25519 .+"),
    "balance": between(0, 100),  # USD
    "credit": between(0, 100),
    "balance_threshold": between(0, 1000),
    "balance_threshold_enabled": truth,
    "billed_expected": between(0.0001, 10),
    "billed_verified": between(0.0001, 10),
    "paid_expected": one_of(100.0),
    "paid_verified": one_of(100.0),
    "billing_creditonly": one_of(0),
    "got_signup_credit": between(0, 10),
    "can_pay": truth,
    "has_billing": truth,
    "has_payout": truth,
    "email_verified": truth,
    "password_resettable": truth,
    "last4": one_of(None),
    "paypal_email": one_of(None),
    **{f"billaddress_{part}": one_of(None) for part in "city country line1 line2 zip".split()},
}


def test_every_field_of_volumes_is_plausible(renter: Renter) -> None:
    assert set(shown("vol_displayable_fields")) <= VOLUME_OFFER.keys()
    assert set(shown("volume_fields")) <= VOLUME.keys()
    asks = renter.api.post("/api/v0/volumes/search/", json={"allocated_storage": 10}).json()["offers"]
    assert len(asks) >= 20
    for ask in asks:
        assert wrong(ask, VOLUME_OFFER) == []
        assert ask["storage_total_cost"] == pytest.approx(ask["storage_cost"] * 10 / 720)
    renter.api.put("/api/v0/volumes/", json={"id": asks[0]["id"], "size": 12})
    (volume,) = renter.api.get("/api/v0/volumes/").json()["volumes"]
    assert wrong(volume, VOLUME) == []
    assert volume["storage_total_cost"] == pytest.approx(asks[0]["storage_cost"] * 12 / 720)


def test_every_field_of_charges_payments_and_the_user_is_plausible(renter: Renter) -> None:
    assert set(shown("user_fields")) <= USER.keys()
    assert set(shown("invoice_fields")) <= REPORTED.keys()
    renter.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY})
    renter.running(renter.rent(label="billed"))
    renter.wait(3600)
    days, when = json.dumps({"day": {"gte": 0, "lte": 4e9}}), json.dumps({"when": {"gte": 0, "lte": 4e9}})
    (charge,) = renter.api.get("/api/v0/charges/", params={"select_filters": days}).json()["results"]
    assert wrong(charge, CHARGE) == []
    assert {item["type"] for item in charge["items"]} == {"gpu", "disk"}
    (payment,) = renter.api.get("/api/v1/invoices/", params={"select_filters": when}).json()["results"]
    assert wrong(payment, PAYMENT) == []
    for row in renter.api.get("/api/v0/users/me/invoices").json()["invoices"]:
        assert wrong(row, REPORTED) == []
    user = renter.api.get("/api/v0/users/current").json()
    assert wrong(user, USER) == []
    assert "api_key" not in user
