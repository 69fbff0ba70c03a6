"""Consents without a token in anybody's hands: genuine, for this instance, once. The console's mint nothing."""

from collections.abc import Callable

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.dossier import conditions_of, render
from remote_gpu_trainer.approval.statement import statement_of
from remote_gpu_trainer.approval.summary import summary
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.database.text import stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.ids import ApprovalId, InstanceId, LeaseId
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.domain.runs import Intent, IntentState
from remote_gpu_trainer.errors import ConsentError, InvalidRequest, TokenRejected
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import LEASE, HandClock, a_rent, a_standing, a_teardown

NIGHT = 12 * 3600.0


@pytest.fixture
def given(book: SqliteApprovalBook) -> tuple[ApprovalRequest, str]:
    """One that a person agreed to, and what ``approve`` gave their terminal."""
    request = book.request(a_standing(), ttl_s=NIGHT)
    return request, book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)


def state(book: SqliteApprovalBook, approval: ApprovalId) -> ApprovalState:
    known = book.get(approval)
    assert known is not None
    return known.state


def spend(
    book: SqliteApprovalBook, teardown: ApprovalRequest, standing: ApprovalRequest, **other: str
) -> tuple[Consent, Intent]:
    return book.spend_by_standing(
        teardown.id,
        standing.id,
        plan_digest=other.get("plan_digest", teardown.plan_digest),
        lease=LeaseId(other.get("lease", LEASE)),
        request={"instance": 1},
    )


def test_it_carries_one_teardown_and_is_spent_by_it(
    book: SqliteApprovalBook, given: tuple[ApprovalRequest, str]
) -> None:
    standing, _ = given
    assert [one.id for one in book.standing(LEASE)] == [standing.id]
    teardown = book.request(a_teardown(), ttl_s=900)
    consent, intent = spend(book, teardown, standing)
    assert (state(book, standing.id), state(book, teardown.id)) == (ApprovalState.SPENT, ApprovalState.SPENT)
    assert (consent.channel, consent.assurance) == (Channel.STANDING, AssuranceLevel.PERSON)
    assert consent.approver == f"consent {standing.id}, given beforehand"
    assert (consent.approval_id, consent.plan_digest) == (teardown.id, teardown.plan_digest)
    assert (intent.action, intent.lease, intent.state) == ("destroy", LEASE, IntentState.OPEN)
    again = book.request(a_teardown(nonce="n2"), ttl_s=900)
    with pytest.raises(TokenRejected, match="used already"):
        spend(book, again, standing)
    assert state(book, again.id) is ApprovalState.OPEN and book.standing(LEASE) == []


def test_nothing_of_it_is_kept_when_the_intent_cannot_be_opened(
    book: SqliteApprovalBook, journal: SqliteJournal, given: tuple[ApprovalRequest, str]
) -> None:
    standing, _ = given
    teardown = book.request(a_teardown(), ttl_s=900)
    wrongs: tuple[dict[str, str], ...] = ({"lease": "other-k3vq7m"}, {"plan_digest": "0" * 64})
    for wrong in wrongs:
        with pytest.raises(TokenRejected):
            spend(book, teardown, standing, **wrong)
        assert (state(book, standing.id), state(book, teardown.id)) == (ApprovalState.APPROVED, ApprovalState.OPEN)
    assert [one.action for one in journal.open_intents()] == ["create"]
    refused = [one.data["refusal"] for one in journal.events(kind="approval.refused")]
    assert refused == ["other-lease", "other-plan"]
    spend(book, teardown, standing)
    assert [one.action for one in journal.open_intents()] == ["create", "destroy"]


def test_its_own_token_destroys_nothing(book: SqliteApprovalBook, given: tuple[ApprovalRequest, str]) -> None:
    standing, token = given
    teardown = book.request(a_teardown(), ttl_s=900)
    with pytest.raises(TokenRejected, match="preapprove, not to destroy"):
        book.spend(standing.id, token, plan_digest=standing.plan_digest, lease=LEASE, request={})
    with pytest.raises(TokenRejected):
        book.spend(teardown.id, token, plan_digest=teardown.plan_digest, lease=LEASE, request={})


Ending = Callable[[SqliteApprovalBook, ApprovalRequest, HandClock], None]
ENDINGS: dict[str, Ending] = {
    "declined": lambda book, one, _: book.decline(one.id, channel=Channel.TERMINAL, reason="I am awake"),
    "void": lambda book, one, _: book.void(one.id, "the machine changed"),
    "expired": lambda _, __, clock: clock.pass_by(NIGHT),
    "clock moved back": lambda _, __, clock: clock.step(-7200),
    "asked anew": lambda book, _, __: void_of(book.request(a_standing(nonce="n2"), ttl_s=NIGHT)),
}


def void_of(_: object) -> None:
    """For what is done for its effect alone."""


@pytest.mark.parametrize("why", ENDINGS)
def test_one_that_came_to_its_end_carries_nothing(
    book: SqliteApprovalBook, given: tuple[ApprovalRequest, str], clock: HandClock, why: str
) -> None:
    standing, _ = given
    ENDINGS[why](book, standing, clock)
    teardown = book.request(a_teardown(nonce="later"), ttl_s=900)
    with pytest.raises(TokenRejected):
        spend(book, teardown, standing)
    assert state(book, teardown.id) is ApprovalState.OPEN


@pytest.mark.parametrize(
    "teardown",
    [
        a_teardown(instance=InstanceId(7)),
        a_teardown(label="rgt/other-k3vq7m"),
        a_rent(),
    ],
    ids=["another id", "another label", "a rental"],
)
def test_it_is_for_one_instance_only(
    book: SqliteApprovalBook, given: tuple[ApprovalRequest, str], teardown: Plan
) -> None:
    standing, _ = given
    other = book.request(teardown, ttl_s=900)
    with pytest.raises(TokenRejected):
        spend(book, other, standing)
    assert state(book, other.id) is ApprovalState.OPEN and state(book, standing.id) is ApprovalState.APPROVED


def test_nobody_agreed_yet_means_no(book: SqliteApprovalBook) -> None:
    asked, teardown = book.request(a_standing(), ttl_s=NIGHT), book.request(a_teardown(), ttl_s=900)
    with pytest.raises(TokenRejected, match="open, not approved"):
        spend(book, teardown, asked)
    with pytest.raises(InvalidRequest):
        spend(book, teardown, asked.model_copy(update={"id": ApprovalId("ap-none")}))


def test_a_row_made_by_hand_is_no_consent(book: SqliteApprovalBook, journal: SqliteJournal, database: Database) -> None:
    asked, teardown = book.request(a_standing(), ttl_s=NIGHT), book.request(a_teardown(), ttl_s=900)
    with database.write() as db:
        db.execute(
            "UPDATE approvals SET state = 'approved', channel = 'terminal', assurance = 'console', decided_at = ?, "
            "token_salt = ?, token_hash = ? WHERE id = ?",
            (stamp(asked.requested_at), b"s" * 16, b"h" * 32, asked.id),
        )
    with pytest.raises((TokenRejected, ConsentError)):
        spend(book, teardown, asked)
    assert state(book, teardown.id) is ApprovalState.OPEN


def test_a_witnessed_end_opens_no_intent_and_ends_only_what_waits_for_the_console(
    book: SqliteApprovalBook, journal: SqliteJournal
) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    consent = book.witness(request.id)
    assert (consent.channel, consent.assurance) == (Channel.CONSOLE, AssuranceLevel.CONSOLE)
    assert consent.approver == "whoever destroyed it in the platform's console"
    assert [one.action for one in journal.open_intents()] == ["create"]
    with pytest.raises(ConsentError, match="not one that waits"):
        book.witness(request.id)
    other = book.request(a_teardown(nonce="n2"), ttl_s=900)
    book.approve(other.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    with pytest.raises(ConsentError, match="not one that waits"):
        book.witness(other.id)


def test_every_condition_is_read_aloud_wherever_it_is_shown(book: SqliteApprovalBook) -> None:
    plan = a_standing()
    for text in (render(plan), summary(plan, limit=2400, where="above")):
        assert all(condition in text for condition in conditions_of(plan))
        assert "100.0 MiB" in text or "100 MiB" in text
    signed = statement_of(book.request(plan, ttl_s=NIGHT), ())
    for fact in (b'"least_level":"LOADS"', b'"idle_minutes":"30.0"', b'"contract_start"', b'"hours":"12.0"'):
        assert fact in signed
