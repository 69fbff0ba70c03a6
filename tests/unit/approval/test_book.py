"""The book: one request per plan, one token per request, one use per token, and a reason for every no."""

from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.refusal import MAX_ATTEMPTS, Refusal
from remote_gpu_trainer.approval.token import mint
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId, OfferId
from remote_gpu_trainer.domain.runs import IntentState
from remote_gpu_trainer.errors import (
    ConsentError,
    InvalidRequest,
    JournalError,
    TokenRejected,
    UnknownRun,
)
from remote_gpu_trainer.journal import SqliteJournal
from remote_gpu_trainer.ports import ApprovalBook
from tests.unit.approval.consents import TTL, approved, refusal_of
from tests.unit.database.builders import (
    INSTANCE,
    LEASE,
    HandClock,
    a_lease,
    a_rent,
    a_teardown,
    an_offer,
)

OTHER_LEASE = LeaseId("digits-zzzzzz")


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


def test_every_mint_use_and_refusal_is_an_event(book: SqliteApprovalBook, journal: SqliteJournal) -> None:
    request, token = approved(book, a_teardown())
    refusal_of(book, request, mint())
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    told = [event for event in journal.events(LEASE) if event.kind.startswith("approval.")]
    assert [event.kind.removeprefix("approval.") for event in told] == ["requested", "approved", "refused", "spent"]
    assert told[1].data["channel"] == "terminal" and told[1].data["assurance"] == "person"
    assert told[2].data["refusal"] == Refusal.WRONG


def test_the_book_satisfies_its_port(book: SqliteApprovalBook) -> None:
    port: ApprovalBook = book
    assert port.open_requests() == []
