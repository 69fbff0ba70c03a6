"""Passkeys: what is accepted, and each way in which an answer is not."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.passkey import (
    Passkey,
    assertion_options,
    new_challenge,
    origin_of,
    register,
    registration_options,
)
from remote_gpu_trainer.approval.passkeyfiles import keep_passkey, load_passkeys
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.errors import ConfigError, ConsentError
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.approval.softpasskey import PRESENT, VERIFIED, SoftPasskey, b64
from tests.unit.database.builders import LEASE, START, HandClock, a_teardown

PORT = 40404
ORIGIN = origin_of(PORT)


def registered(soft: SoftPasskey, label: str = "my key ring") -> Passkey:
    challenge = new_challenge()
    return register(soft.registration(challenge, ORIGIN), challenge=challenge, port=PORT, label=label, at=START)


@pytest.fixture(scope="module")
def soft() -> SoftPasskey:
    return SoftPasskey()


@pytest.fixture(scope="module")
def passkey(soft: SoftPasskey) -> Passkey:
    return registered(soft)


@pytest.fixture
def asked(book: SqliteApprovalBook) -> ApprovalRequest:
    return book.request(a_teardown(nonce=secrets.token_hex(4)), ttl_s=900)


def test_an_answer_over_this_statement_mints_a_token_at_level_hardware(
    book: SqliteApprovalBook, journal: SqliteJournal, asked: ApprovalRequest, soft: SoftPasskey, passkey: Passkey
) -> None:
    answer = soft.assertion(soft.challenge(asked), ORIGIN)

    token = book.approve_passkey(asked.id, answer, known=(passkey,), port=PORT)

    known = book.check(asked.id, token, plan_digest=asked.plan_digest)
    assert (known.channel, known.assurance) == (Channel.PAGE, AssuranceLevel.HARDWARE)
    [event] = journal.events(LEASE, kind="approval.approved", limit=1)
    assert event.data["approver"] == f"passkey {passkey.fingerprint}"
    consent, _ = book.spend(asked.id, token, plan_digest=asked.plan_digest, lease=LEASE, request={})
    assert consent.approver == f"passkey {passkey.fingerprint}"


Wrong = Callable[[SoftPasskey, ApprovalRequest], str]

REFUSED: dict[str, tuple[Wrong, str]] = {
    "another challenge": (lambda s, r: s.assertion(b"x" * 32, ORIGIN), "challenge"),
    "another origin": (lambda s, r: s.assertion(s.challenge(r), "http://localhost:1"), "origin"),
    "an address for an origin": (lambda s, r: s.assertion(s.challenge(r), f"http://127.0.0.1:{PORT}"), "origin"),
    "another relying party": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, rp_id="evil.example"), "RP ID"),
    "nobody verified": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, flags=PRESENT), "not verified"),
    "nobody present": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, flags=VERIFIED), "not present"),
    "no flag at all": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, flags=0), "not present"),
    "a counter that stood still": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, counter=1), "sign count"),
    "a counter of zero": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, counter=0), "sign count"),
    "a registration in its place": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, kind="webauthn.create"), "type"),
    "another key's signature": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, forged=True), "signature"),
    "asked for in a frame": (lambda s, r: s.assertion(s.challenge(r), ORIGIN, crossOrigin=True), "another site"),
    "a passkey that is not registered": (
        lambda s, r: SoftPasskey(b"another-passkey!").assertion(s.challenge(r), ORIGIN),
        "registered",
    ),
    "an id under two keys": (
        lambda s, r: s.assertion(s.challenge(r), ORIGIN).replace('{"id"', '{"id": "x", "id"', 1),
        "twice",
    ),
    "a response that is no object": (
        lambda s, r: json.dumps({"id": b64(s.id), "rawId": b64(s.id), "type": "public-key", "response": 7}),
        "response",
    ),
    "nothing": (lambda s, r: "", "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_answer_is_refused_with_the_reason_and_the_question_stays_open(
    name: str, book: SqliteApprovalBook, asked: ApprovalRequest, soft: SoftPasskey, passkey: Passkey
) -> None:
    make, reason = REFUSED[name]

    with pytest.raises(ConsentError, match=reason) as refused:
        book.approve_passkey(asked.id, make(soft, asked), known=(passkey,), port=PORT)

    assert refused.value.effect == "Nothing was approved."
    known = book.get(asked.id)
    assert known is not None and known.state is ApprovalState.OPEN


def test_an_answer_is_not_good_for_another_request(
    book: SqliteApprovalBook, asked: ApprovalRequest, soft: SoftPasskey, passkey: Passkey
) -> None:
    answer = soft.assertion(soft.challenge(asked), ORIGIN)
    other = book.request(a_teardown(nonce="other"), ttl_s=900)

    with pytest.raises(ConsentError, match="challenge"):
        book.approve_passkey(other.id, answer, known=(passkey,), port=PORT)


def test_an_answer_is_not_good_twice(
    book: SqliteApprovalBook, asked: ApprovalRequest, soft: SoftPasskey, passkey: Passkey
) -> None:
    answer = soft.assertion(soft.challenge(asked), ORIGIN)
    book.approve_passkey(asked.id, answer, known=(passkey,), port=PORT)

    with pytest.raises(ConsentError):
        book.approve_passkey(asked.id, answer, known=(passkey,), port=PORT)


def test_the_counter_is_kept_with_the_journal(
    database: object, book: SqliteApprovalBook, soft: SoftPasskey, passkey: Passkey, clock: HandClock, file: Path
) -> None:
    first = book.request(a_teardown(nonce="first"), ttl_s=900)
    book.approve_passkey(
        first.id, soft.assertion(soft.challenge(first), ORIGIN, counter=9), known=(passkey,), port=PORT
    )

    with SqliteApprovalBook(file, clock=clock) as reopened:
        second = reopened.request(a_teardown(nonce="second"), ttl_s=900)
        copied = soft.assertion(soft.challenge(second), ORIGIN, counter=9)
        with pytest.raises(ConsentError, match="sign count"):
            reopened.approve_passkey(second.id, copied, known=(passkey,), port=PORT)
        going_on = soft.assertion(soft.challenge(second), ORIGIN, counter=10)
        assert reopened.approve_passkey(second.id, going_on, known=(passkey,), port=PORT)


@pytest.mark.parametrize(
    ("flags", "origin", "reason"),
    [
        (PRESENT, ORIGIN, "not verified"),
        (VERIFIED, ORIGIN, "not present"),
        (PRESENT | VERIFIED, "http://localhost:1", "origin"),
    ],
)
def test_a_registration_needs_presence_verification_and_our_origin(
    soft: SoftPasskey, flags: int, origin: str, reason: str
) -> None:
    challenge = new_challenge()
    answer = soft.registration(challenge, origin, flags=flags)

    with pytest.raises(ConsentError, match=reason) as refused:
        register(answer, challenge=challenge, port=PORT, label="x", at=START)

    assert refused.value.effect == "Nothing was registered."


def test_what_the_browser_is_asked_for_demands_verification(
    book: SqliteApprovalBook, asked: ApprovalRequest, passkey: Passkey
) -> None:
    asks = json.loads(assertion_options(asked, (passkey,)))
    assert asks["userVerification"] == "required" and asks["rpId"] == "localhost"
    assert [one["id"] for one in asks["allowCredentials"]] == [passkey.credential_id]
    makes = json.loads(registration_options(b"c" * 32, (passkey,)))
    assert makes["authenticatorSelection"]["userVerification"] == "required"
    assert [one["id"] for one in makes["excludeCredentials"]] == [passkey.credential_id]


def test_a_passkey_lies_in_a_private_file_of_its_own(tmp_path: Path, passkey: Passkey) -> None:
    folder = tmp_path / "passkeys"
    assert load_passkeys(folder) == ()

    path = keep_passkey(folder, passkey)

    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert load_passkeys(folder) == (passkey,)
    with pytest.raises(FileExistsError):
        keep_passkey(folder, passkey)


@pytest.mark.parametrize("which", ["folder", "file"])
def test_a_passkey_that_others_could_have_written_is_not_accepted(tmp_path: Path, passkey: Passkey, which: str) -> None:
    folder = tmp_path / "passkeys"
    path = keep_passkey(folder, passkey)
    os.chmod(folder if which == "folder" else path, 0o777 if which == "folder" else 0o666)

    with pytest.raises(ConfigError, match="can be written by other users") as refused:
        load_passkeys(folder)

    assert refused.value.effect == "No passkey is accepted until that is put right."


def test_a_file_with_a_key_twice_is_no_passkey(tmp_path: Path, passkey: Passkey) -> None:
    folder = tmp_path / "passkeys"
    path = keep_passkey(folder, passkey)
    path.write_text(path.read_text(encoding="utf-8").replace("{", '{"label":"evil",', 1), encoding="utf-8")

    with pytest.raises(ConfigError, match="is no registered passkey"):
        load_passkeys(folder)
