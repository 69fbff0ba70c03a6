"""The book: one request per plan, one token per request, one use per token, and a reason for every no."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import KEY_FILE, SqliteApprovalBook
from remote_gpu_trainer.approval.refusal import MAX_ATTEMPTS, Refusal
from remote_gpu_trainer.approval.rows import binding_of
from remote_gpu_trainer.approval.token import mint, seal
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId, OfferId
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.domain.runs import IntentState
from remote_gpu_trainer.errors import (
    ConfigError,
    ConsentError,
    InvalidRequest,
    JournalError,
    TokenRejected,
    UnknownRun,
)
from remote_gpu_trainer.journal import SqliteJournal
from remote_gpu_trainer.ports import ApprovalBook
from tests.unit.database.builders import (
    INSTANCE,
    LEASE,
    HandClock,
    a_lease,
    a_rent,
    a_teardown,
    an_offer,
)

TTL = 900.0
OTHER_LEASE = LeaseId("digits-zzzzzz")


def approved(book: ApprovalBook, plan: Plan) -> tuple[ApprovalRequest, str]:
    request = book.request(plan, ttl_s=TTL)
    token = book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    return request, token


def refusal_of(book: ApprovalBook, request: ApprovalRequest, token: str, *, digest: str | None = None) -> str:
    with pytest.raises(TokenRejected) as caught:
        book.spend(request.id, token, plan_digest=digest or request.plan_digest, lease=LEASE, request={})
    assert "not destroyed" in caught.value.effect
    assert caught.value.next_step
    assert not token or token not in str(caught.value)
    assert not token or token not in repr(caught.value.details)
    return str(caught.value.details["reason"])


def test_a_token_spends_once_and_opens_the_destroy_intent(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    request, token = approved(book, a_teardown())
    consent, intent = book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={"id": 1})
    assert consent.approval_id == request.id and consent.plan_digest == request.plan_digest
    assert (consent.channel, consent.assurance) == (Channel.TERMINAL, AssuranceLevel.PERSON)
    assert intent.action == "destroy" and intent.state is IntentState.OPEN and intent.request == {"id": 1}
    assert intent in journal.open_intents()
    assert refusal_of(book, request, token) == Refusal.SPENT


def test_spaces_dashes_and_case_do_not_matter(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    spoken = token.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert book.check(request.id, f"  {spoken} ", plan_digest=request.plan_digest).state is ApprovalState.APPROVED


def test_checking_does_not_use_a_token(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    for _ in range(MAX_ATTEMPTS + 1):
        book.check(request.id, token, plan_digest=request.plan_digest)
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})


def test_the_same_plan_is_asked_once(book: SqliteApprovalBook) -> None:
    first = book.request(a_teardown(), ttl_s=TTL)
    assert book.request(a_teardown(), ttl_s=TTL).id == first.id
    assert [request.id for request in book.open_requests()] == [first.id]


def test_an_approved_plan_asked_again_keeps_its_token(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    assert book.request(a_teardown(), ttl_s=TTL).id == request.id
    book.check(request.id, token, plan_digest=request.plan_digest)


def test_a_newer_plan_for_the_same_instance_voids_the_older_token(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown(nonce="n1"))
    newer = book.request(a_teardown(nonce="n2"), ttl_s=TTL)
    assert newer.id != request.id
    assert refusal_of(book, request, token) == Refusal.VOID


def test_a_plan_to_rent_voids_no_plan_to_destroy(book: SqliteApprovalBook) -> None:
    destroy = book.request(a_teardown(), ttl_s=TTL)
    book.request(a_rent(), ttl_s=TTL)
    assert [request.plan.action for request in book.open_requests()] == [destroy.plan.action, "rent"]


def test_a_token_is_minted_once(book: SqliteApprovalBook) -> None:
    request, _ = approved(book, a_teardown())
    with pytest.raises(ConsentError, match="approved already"):
        book.approve(request.id, channel=Channel.PAGE, assurance=AssuranceLevel.PERSON)


def test_a_request_nobody_knows_is_refused(book: SqliteApprovalBook) -> None:
    ghost = book.request(a_teardown(), ttl_s=TTL).model_copy(update={"id": ApprovalId("ap-nothing2")})
    assert refusal_of(book, ghost, mint()) == Refusal.UNKNOWN
    with pytest.raises(InvalidRequest):
        book.approve(ghost.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    with pytest.raises(InvalidRequest):
        book.decline(ghost.id, channel=Channel.TERMINAL, reason="no")
    with pytest.raises(InvalidRequest):
        book.void(ghost.id, "gone")
    assert book.get(ghost.id) is None


def test_a_made_up_token_before_the_person_answered_is_refused(book: SqliteApprovalBook) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    assert refusal_of(book, request, mint()) == Refusal.UNDECIDED


def test_a_typing_error_is_told_from_a_forgery_and_does_not_count(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    wrong_last = "A" if token[-1] != "A" else "B"
    for _ in range(MAX_ATTEMPTS + 2):
        assert refusal_of(book, request, token[:-1] + wrong_last) == Refusal.MISTYPED
    assert refusal_of(book, request, token[:-5]) == Refusal.MISTYPED
    assert refusal_of(book, request, "") == Refusal.MISTYPED
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})


def test_five_forgeries_lock_the_request_for_the_true_token_too(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    for _ in range(MAX_ATTEMPTS - 1):
        assert refusal_of(book, request, mint()) == Refusal.WRONG
    assert refusal_of(book, request, mint()) == Refusal.LOCKED
    assert refusal_of(book, request, token) == Refusal.LOCKED
    known = book.get(request.id)
    assert known is not None and known.state is ApprovalState.LOCKED and known.attempts == MAX_ATTEMPTS


def test_a_token_expires_with_its_request(book: SqliteApprovalBook, clock: HandClock) -> None:
    request, token = approved(book, a_teardown())
    clock.pass_by(TTL - 0.001)
    book.check(request.id, token, plan_digest=request.plan_digest)
    clock.pass_by(0.001)
    assert refusal_of(book, request, token) == Refusal.EXPIRED
    assert book.open_requests() == []


def test_an_expired_request_cannot_be_approved(book: SqliteApprovalBook, clock: HandClock) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    clock.pass_by(TTL)
    with pytest.raises(ConsentError, match="expired"):
        book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)


def test_a_no_is_final_and_its_reason_is_told(book: SqliteApprovalBook) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    book.decline(request.id, channel=Channel.PAGE, reason="keep it until Monday")
    book.decline(request.id, channel=Channel.PAGE, reason="again")
    with pytest.raises(TokenRejected, match="keep it until Monday"):
        book.check(request.id, mint(), plan_digest=request.plan_digest)
    with pytest.raises(ConsentError, match="declined"):
        book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    known = book.get(request.id)
    assert known is not None and known.channel is Channel.PAGE and known.reason == "keep it until Monday"


def test_a_yes_can_be_taken_back_until_it_is_used(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    book.decline(request.id, channel=Channel.TERMINAL, reason="wait")
    assert refusal_of(book, request, token) == Refusal.DECLINED
    other, token = approved(book, a_teardown(nonce="n2"))
    book.spend(other.id, token, plan_digest=other.plan_digest, lease=LEASE, request={})
    with pytest.raises(ConsentError, match="spent"):
        book.decline(other.id, channel=Channel.TERMINAL, reason="too late")


def test_a_plan_that_no_longer_holds_is_refused_with_the_reason(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    book.void(request.id, "a new checkpoint was written")
    with pytest.raises(TokenRejected, match="a new checkpoint was written") as caught:
        book.check(request.id, token, plan_digest=request.plan_digest)
    assert caught.value.details["reason"] == Refusal.VOID


def test_a_token_is_good_for_one_plan_only(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown())
    assert refusal_of(book, request, token, digest=a_teardown(nonce="n2").digest) == Refusal.OTHER_PLAN


def test_a_token_of_one_approval_does_not_open_another(book: SqliteApprovalBook) -> None:
    _, rent_token = approved(book, a_rent())
    request, _ = approved(book, a_teardown())
    assert refusal_of(book, request, rent_token) == Refusal.WRONG


def test_a_token_to_rent_does_not_destroy(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_rent())
    with pytest.raises(TokenRejected) as caught:
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    assert caught.value.details["reason"] == Refusal.OTHER_ACTION


def test_a_token_to_destroy_does_not_rent(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    request, token = approved(book, a_teardown())
    with pytest.raises(TokenRejected) as caught:
        book.spend_rent(request.id, token, plan_digest=request.plan_digest, lease=a_lease(OTHER_LEASE), request={})
    assert caught.value.details["reason"] == Refusal.OTHER_ACTION
    assert journal.lease(OTHER_LEASE) is None


def test_a_token_is_good_for_its_run_only(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    journal.open_lease(a_lease(OTHER_LEASE), account_id=4242, request={})
    journal.bind_instance(OTHER_LEASE, INSTANCE)
    request, token = approved(book, a_teardown())
    with pytest.raises(TokenRejected) as caught:
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=OTHER_LEASE, request={})
    assert caught.value.details["reason"] == Refusal.OTHER_LEASE


def test_a_plan_for_an_instance_that_the_run_is_not_is_refused(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown(instance=type(INSTANCE)(INSTANCE + 1)))
    assert refusal_of(book, request, token) == Refusal.OTHER_INSTANCE


def test_a_plan_for_another_account_is_refused(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_teardown(account=999))
    assert refusal_of(book, request, token) == Refusal.OTHER_ACCOUNT


def test_spending_for_a_run_that_the_journal_lost_spends_nothing(file: Path, clock: HandClock) -> None:
    with SqliteApprovalBook(file, clock=clock) as book:
        request, token = approved(book, a_teardown())
        with pytest.raises(UnknownRun):
            book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
        book.check(request.id, token, plan_digest=request.plan_digest)


def test_a_consent_to_rent_opens_the_lease_with_it(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    request, token = approved(book, a_rent())
    consent, intent = book.spend_rent(
        request.id, token, plan_digest=request.plan_digest, lease=a_lease(OTHER_LEASE), request={"image": "x"}
    )
    assert consent.plan_digest == request.plan_digest
    assert intent.action == "create" and intent.lease == OTHER_LEASE
    assert journal.lease(OTHER_LEASE) is not None
    with pytest.raises(TokenRejected, match="used already"):
        book.spend_rent(request.id, token, plan_digest=request.plan_digest, lease=a_lease(OTHER_LEASE), request={})


def test_a_dearer_rental_than_the_approved_one_is_refused(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_rent())
    dearer = a_lease(OTHER_LEASE, usd_per_hour=0.26)
    with pytest.raises(TokenRejected, match=r"\$0\.26") as caught:
        book.spend_rent(request.id, token, plan_digest=request.plan_digest, lease=dearer, request={})
    assert caught.value.details["reason"] == Refusal.OTHER_OFFER


def test_a_consent_to_rent_is_good_for_its_offer_only(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    request, token = approved(book, a_rent())
    other = a_lease(OTHER_LEASE).model_copy(update={"offer": an_offer(OfferId(7))})
    with pytest.raises(TokenRejected, match=r"approved offer 8812001.*this is offer 7.*Nothing was rented") as caught:
        book.spend_rent(request.id, token, plan_digest=request.plan_digest, lease=other, request={})
    assert caught.value.details["reason"] == Refusal.OTHER_OFFER
    assert journal.lease(OTHER_LEASE) is None


def test_renting_under_an_approval_that_nobody_knows_rents_nothing(book: SqliteApprovalBook) -> None:
    with pytest.raises(TokenRejected, match="Nothing was rented"):
        book.spend_rent(ApprovalId("ap-nothing2"), mint(), plan_digest="", lease=a_lease(OTHER_LEASE), request={})
    with pytest.raises(TokenRejected, match="Nothing was destroyed and nothing was rented"):
        book.check(ApprovalId("ap-nothing2"), mint(), plan_digest="")


def test_renting_under_a_lease_that_is_there_spends_nothing(book: SqliteApprovalBook) -> None:
    request, token = approved(book, a_rent())
    with pytest.raises(JournalError, match="already holds a lease"):
        book.spend_rent(request.id, token, plan_digest=request.plan_digest, lease=a_lease(), request={})
    book.check(request.id, token, plan_digest=request.plan_digest)


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan"), float("inf"), 86_401.0])
def test_a_request_that_would_not_end_is_not_opened(book: SqliteApprovalBook, ttl: float) -> None:
    with pytest.raises(InvalidRequest):
        book.request(a_teardown(), ttl_s=ttl)
    assert book.open_requests() == []


def test_a_plan_altered_by_hand_is_refused(book: SqliteApprovalBook, database: Database) -> None:
    request, token = approved(book, a_teardown())
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute("UPDATE approvals SET plan = replace(plan, 'out/debug.log', 'out/nothing.log')")
    assert refusal_of(book, request, token) == Refusal.ALTERED


def test_an_altered_open_request_cannot_be_approved(book: SqliteApprovalBook, database: Database) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute("UPDATE approvals SET plan = replace(plan, 'out/debug.log', 'out/nothing.log')")
    with pytest.raises(ConsentError, match="altered"):
        book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE approvals SET expires_at = '2099-01-01T00:00:00.000000Z'",
        "UPDATE approvals SET assurance = 'hardware'",
        "UPDATE approvals SET channel = 'page'",
        "UPDATE approvals SET decided_at = '2026-08-01T12:10:00.000000Z'",
    ],
)
def test_a_term_of_an_approval_changed_by_hand_breaks_its_token(
    book: SqliteApprovalBook, database: Database, change: str
) -> None:
    request, token = approved(book, a_teardown())
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute(change)
    assert refusal_of(book, request, token) == Refusal.WRONG


def test_a_row_made_by_hand_without_the_key_file_is_no_consent(
    book: SqliteApprovalBook, database: Database, file: Path
) -> None:
    request, token = approved(book, a_teardown())
    key = file.with_name(KEY_FILE)
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    assert refusal_of(book, request, token) == Refusal.WRONG


def test_an_approval_written_into_the_database_by_hand_is_no_consent(
    book: SqliteApprovalBook, database: Database, file: Path
) -> None:
    request, _ = approved(book, a_teardown())
    with database.read() as db:
        row = dict(db.execute("SELECT * FROM approvals").fetchone())
    forged = mint()
    known = book.get(request.id)
    assert known is not None and known.state is ApprovalState.APPROVED
    binding = binding_of(known)
    row.update(seq=2, id="ap-forged22", token_salt=b"s" * 16)
    row["token_hash"] = seal(
        forged, key=b"a key of the forger's own choice", salt=b"s" * 16, binding={**binding, "approval": "ap-forged22"}
    )
    columns = ", ".join(row)
    statement = f"INSERT INTO approvals ({columns}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608  # our own names
    with pytest.raises(JournalError, match="starts open"), database.write() as db:
        db.execute(statement, tuple(row.values()))
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_born_open")
        db.execute(statement, tuple(row.values()))
    made_up = request.model_copy(update={"id": ApprovalId("ap-forged22")})
    assert refusal_of(book, made_up, forged) == Refusal.WRONG


def test_a_key_file_that_others_may_read_or_that_is_cut_short_is_not_used(book: SqliteApprovalBook, file: Path) -> None:
    request, token = approved(book, a_teardown())
    key = file.with_name(KEY_FILE)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    key.chmod(0o600)
    content = key.read_bytes()
    key.write_bytes(content[:16])
    with pytest.raises(ConfigError, match="16 bytes and should hold 32"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    key.unlink()
    key.mkdir()
    with pytest.raises(ConfigError, match="cannot be used"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    key.rmdir()
    key.write_bytes(content)
    key.chmod(0o600)
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})


def test_another_approver_written_by_hand_is_refused(book: SqliteApprovalBook, database: Database) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    token = book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.SEALED, by="the passphrase")
    assert book.check(request.id, token, plan_digest=request.plan_digest).approver == "the passphrase"
    for other in ("ada SHA256:abc", None):
        with database.write() as db:
            db.execute("UPDATE approvals SET approver = ?", (other,))
        assert refusal_of(book, request, token) == Refusal.WRONG


def test_a_used_approval_cannot_be_set_back_by_hand(book: SqliteApprovalBook, database: Database) -> None:
    request, token = approved(book, a_teardown())
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    with pytest.raises(JournalError, match="never changes"), database.write() as db:
        db.execute("UPDATE approvals SET state = 'approved'")
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_end")
        db.execute("UPDATE approvals SET state = 'approved'")
    assert refusal_of(book, request, token) == Refusal.ALTERED


End = Callable[[SqliteApprovalBook, ApprovalRequest, str], object]
ENDS: dict[str, End] = {
    "declined": lambda book, one, token: book.decline(one.id, channel=Channel.PAGE, reason="no"),
    "void": lambda book, one, token: book.void(one.id, "the machine changed"),
    "spent": lambda book, one, token: book.spend(one.id, token, plan_digest=one.plan_digest, lease=LEASE, request={}),
    "locked": lambda book, one, token: [refusal_of(book, one, mint()) for _ in range(MAX_ATTEMPTS)],
}


@pytest.mark.parametrize("how", ENDS)
def test_a_row_put_back_whole_after_its_end_is_known_by_the_events_of_that_end(
    book: SqliteApprovalBook, database: Database, how: str
) -> None:
    request, token = approved(book, a_teardown())
    with database.read() as db:
        row = dict(db.execute("SELECT * FROM approvals").fetchone())
    ENDS[how](book, request, token)
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_end")
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute(f"UPDATE approvals SET {', '.join(f'{name} = :{name}' for name in row)}", row)  # noqa: S608 - ours
    with pytest.raises(TokenRejected, match=f"approved and the journal that it was {how} at") as refused:
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    assert refused.value.details["reason"] == Refusal.ALTERED


def test_a_destroy_intent_without_a_spent_consent_cannot_be_written(
    book: SqliteApprovalBook, journal: SqliteJournal, database: Database
) -> None:
    request, _ = approved(book, a_teardown())
    with pytest.raises(JournalError, match="without a consent"):
        journal.open_intent(LEASE, "destroy", {})
    for approval in (None, request.id):
        with pytest.raises(JournalError, match="only by spending a consent"), database.write() as db:
            db.execute(
                "INSERT INTO intents (lease, action, request, state, opened_at, approval)"
                " VALUES (?, 'destroy', '{}', 'open', '2026-08-01T12:00:00.000000Z', ?)",
                (LEASE, approval),
            )


def test_every_mint_use_and_refusal_is_an_event(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    request, token = approved(book, a_teardown())
    refusal_of(book, request, mint())
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    told = [event for event in journal.events(LEASE) if event.kind.startswith("approval.")]
    assert [event.kind.removeprefix("approval.") for event in told] == ["requested", "approved", "refused", "spent"]
    assert told[1].data["channel"] == "terminal" and told[1].data["assurance"] == "person"
    assert told[2].data["refusal"] == Refusal.WRONG


def test_no_token_is_anywhere_on_disk(book: SqliteApprovalBook, file: Path) -> None:
    plans = [a_teardown(nonce=f"n{number}") for number in range(MAX_ATTEMPTS)]
    tokens = [approved(book, plan)[1] for plan in plans]
    forged = mint()
    last = book.request(plans[-1], ttl_s=TTL)
    refusal_of(book, last, forged)
    book.spend(last.id, tokens[-1], plan_digest=last.plan_digest, lease=LEASE, request={})
    on_disk = b"".join(path.read_bytes() for path in sorted(file.parent.iterdir())).upper()
    assert LEASE.upper().encode() in on_disk
    for token in [*tokens, forged]:
        assert token.encode() not in on_disk
        assert token.replace("-", "").encode() not in on_disk
        assert token[:9].encode() not in on_disk


def test_a_book_opened_again_goes_on_where_it_was(file: Path, book: SqliteApprovalBook, clock: HandClock) -> None:
    request, token = approved(book, a_teardown())
    with SqliteApprovalBook(file, clock=clock) as again:
        again.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    assert refusal_of(book, request, token) == Refusal.SPENT


def test_the_book_satisfies_its_port(book: SqliteApprovalBook) -> None:
    port: ApprovalBook = book
    assert port.open_requests() == []


def test_the_file_is_an_ordinary_database_that_others_may_read(book: SqliteApprovalBook, file: Path) -> None:
    approved(book, a_teardown())
    with sqlite3.connect(file) as plain:
        assert plain.execute("SELECT state FROM approvals").fetchone() == ("approved",)
    plain.close()
