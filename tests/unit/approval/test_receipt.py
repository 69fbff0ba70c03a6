"""A receipt proves one end: signed, whole, with two absences, and not to be altered."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.receipt import Absence, Receipt, receipt_public_key, verify_receipt, write_receipt
from remote_gpu_trainer.approval.receiptpage import receipt_text, write_receipt_page
from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.units import Usd
from remote_gpu_trainer.errors import ConsentError, InvalidRequest
from tests.unit.database.builders import ACCOUNT, INSTANCE, LEASE, START, a_teardown

LATER = START + timedelta(minutes=5)


def absence(seconds: float, *, account: int = ACCOUNT, instance: int = INSTANCE) -> Absence:
    return Absence(at=LATER + timedelta(seconds=seconds), account_id=account, instance_id=instance, instances_listed=0)


def a_receipt(
    *, absences: tuple[Absence, ...] = (absence(1), absence(31)), digest: str | None = None, lease: str = LEASE
) -> Receipt:
    plan = a_teardown(lease=LeaseId(lease))
    return Receipt(
        plan=plan,
        consent=Consent(
            approval_id=ApprovalId("ap-k3vq7m2x"),
            plan_digest=digest or plan.digest,
            channel=Channel.TERMINAL,
            assurance=AssuranceLevel.PERSON,
            granted_at=LATER,
            expires_at=LATER + timedelta(minutes=10),
        ),
        absences=absences,
        estimated_cost=Usd(1.25),
        billed_cost=Usd(1.27),
        volumes_billing_on=(),
        closed_at=LATER + timedelta(minutes=1),
        program_version="0.1.0",
    )


def test_a_receipt_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = write_receipt(tmp_path, a_receipt())
    assert path == tmp_path / "receipts" / f"{LEASE}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert verify_receipt(path.read_bytes(), public_key=receipt_public_key(tmp_path)) == a_receipt()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_same_end_is_written_once_and_another_gets_a_number(tmp_path: Path) -> None:
    first = write_receipt(tmp_path, a_receipt())
    assert write_receipt(tmp_path, a_receipt()) == first
    second = write_receipt(tmp_path, a_receipt(absences=(absence(5), absence(50))))
    assert second.name == f"{LEASE}.2.json"
    assert verify_receipt(first.read_bytes(), public_key=receipt_public_key(tmp_path)) == a_receipt()


@pytest.mark.parametrize(
    ("written", "altered"),
    [
        ('"estimated_cost":1.25', '"estimated_cost":0.25'),
        ("out/debug.log", "out/nothing.log"),
        ('"version":1', '"version":1,"version":1'),
        ('"algorithm"', '"extra":1,"algorithm"'),
        ('"estimated_cost":1.25', '"estimated_cost":NaN'),
        ('"signature":"', '"signature":"!'),
        ('"signature":"', '"signature":1,"x":"'),
    ],
)
def test_an_altered_receipt_does_not_hold(tmp_path: Path, written: str, altered: str) -> None:
    text = write_receipt(tmp_path, a_receipt()).read_text()
    assert written in text
    with pytest.raises(ConsentError, match="does not hold"):
        verify_receipt(text.replace(written, altered, 1).encode(), public_key=receipt_public_key(tmp_path))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"a":' * 5000, b"\xff"])
def test_what_is_no_receipt_does_not_hold(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConsentError, match="does not hold"):
        verify_receipt(content, public_key=receipt_public_key(tmp_path))


def test_a_receipt_signed_by_another_key_does_not_hold_although_it_brings_that_key(tmp_path: Path) -> None:
    home, other = tmp_path / "a", tmp_path / "b"
    home.mkdir()
    other.mkdir()
    path = write_receipt(other, a_receipt())
    assert json.loads(path.read_bytes())["public_key"]
    with pytest.raises(ConsentError, match="not by the trusted key"):
        verify_receipt(path.read_bytes(), public_key=receipt_public_key(home))


@pytest.mark.parametrize(
    ("receipt", "reason"),
    [
        (a_receipt(absences=()), "absent 0 time"),
        (a_receipt(absences=(absence(1),)), "absent 1 time"),
        (a_receipt(absences=(absence(1), absence(1))), "absent 1 time"),
        (a_receipt(absences=(absence(1), absence(31, account=7))), "another account"),
        (a_receipt(absences=(absence(1), absence(31, instance=7))), "another account or instance"),
        (a_receipt(absences=(absence(-1), absence(31))), "older than the consent"),
        (a_receipt(digest="0" * 64), "another plan"),
        (a_receipt(lease="../../etc"), "form"),
    ],
)
def test_what_proves_no_end_gets_no_receipt(tmp_path: Path, receipt: Receipt, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        write_receipt(tmp_path, receipt)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_receipt_can_be_read_and_kept_as_a_page(tmp_path: Path) -> None:
    receipt = a_receipt().model_copy(update={"volumes_billing_on": ("<script>alert(1)</script>",)})
    path = write_receipt_page(write_receipt(tmp_path, receipt), receipt)
    assert write_receipt_page(path.with_suffix(".json"), receipt) == path
    page = path.read_text()
    assert path.name == f"{LEASE}.html" and path.stat().st_mode & 0o777 == 0o600
    assert "<script" not in page and "&lt;script&gt;" in page
    for words in (
        "Destroyed: digits-k3vq7m",
        "1 volume(s) go on billing",
        "$1.25",
        "$1.27",
        "level person",
        "debug.log",
    ):
        assert words in page


def test_a_bill_that_could_not_be_read_is_said() -> None:
    text = receipt_text(a_receipt().model_copy(update={"billed_cost": None}))
    assert "- approver: a person who typed the name, which proves no identity" in text
    named = a_receipt().consent.model_copy(update={"approver": "ada SHA256:abc"})
    assert "- approver: ada SHA256:abc" in receipt_text(a_receipt().model_copy(update={"consent": named}))
    assert "the platform's own charges could not be read" in text
    assert text.count("absent 2026-08-01") == 2
