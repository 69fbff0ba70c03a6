"""A clock moved back brings no token to life, over a restart or while nothing happened."""

from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.refusal import Refusal
from remote_gpu_trainer.database.highwater import TOLERANCE
from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.errors import TokenRejected
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import LEASE, HandClock, a_teardown

TTL = 900.0
BEYOND = TOLERANCE.total_seconds() + 1


def approved(book: SqliteApprovalBook) -> tuple[ApprovalRequest, str]:
    request = book.request(a_teardown(), ttl_s=TTL)
    return request, book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)


def refusal(book: SqliteApprovalBook, request: ApprovalRequest, token: str) -> str:
    with pytest.raises(TokenRejected) as caught:
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    return str(caught.value.details["reason"])


def test_an_expired_token_stays_expired_when_the_clock_is_set_back_over_a_restart(
    book: SqliteApprovalBook, journal: SqliteJournal, file: Path, clock: HandClock
) -> None:
    request, token = approved(book)
    clock.pass_by(TTL + 1)
    journal.record("anything", None, {})
    later = HandClock(clock.wall)
    later.step(-TTL)
    with SqliteApprovalBook(file, clock=later) as restarted:
        assert refusal(restarted, request, token) == Refusal.CLOCK_MOVED_BACK
        assert refusal(restarted, request, token) == Refusal.VOID


def test_time_that_passed_unseen_counts_although_the_wall_clock_was_set_back(
    book: SqliteApprovalBook, clock: HandClock
) -> None:
    request, token = approved(book)
    clock.pass_by(TTL * 4)
    clock.step(-TTL * 4)
    assert refusal(book, request, token) == Refusal.CLOCK_MOVED_BACK


def test_a_small_step_back_makes_time_stand_still_and_lengthens_nothing(
    book: SqliteApprovalBook, clock: HandClock
) -> None:
    request, token = approved(book)
    clock.pass_by(TTL - 1)
    book.check(request.id, token, plan_digest=request.plan_digest)
    clock.step(-TOLERANCE.total_seconds())
    book.check(request.id, token, plan_digest=request.plan_digest)
    clock.pass_by(1)
    assert refusal(book, request, token) == Refusal.EXPIRED


def test_many_small_steps_back_lengthen_nothing(book: SqliteApprovalBook, clock: HandClock) -> None:
    request, token = approved(book)
    refused = None
    for _ in range(40):
        clock.pass_by(30)
        clock.step(-20)
        try:
            book.check(request.id, token, plan_digest=request.plan_digest)
        except TokenRejected as problem:
            refused = problem
            break
    assert refused is not None
    assert clock.ticks - 1000.0 <= TTL + 30


def test_after_a_clock_was_set_right_again_a_new_approval_works(book: SqliteApprovalBook, clock: HandClock) -> None:
    clock.step(365 * 86_400)
    request, token = approved(book)
    clock.step(-365 * 86_400)
    assert refusal(book, request, token) == Refusal.CLOCK_MOVED_BACK
    again, token = approved(book)
    book.spend(again.id, token, plan_digest=again.plan_digest, lease=LEASE, request={})


def test_the_reason_says_how_far_the_clock_went_back(book: SqliteApprovalBook, clock: HandClock) -> None:
    request, token = approved(book)
    clock.step(-BEYOND)
    with pytest.raises(TokenRejected, match=r"went back by 0:01:01.*ask for a new approval.*not destroyed"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})


def test_a_laptop_that_slept_does_not_count_as_a_clock_moved_back(book: SqliteApprovalBook, clock: HandClock) -> None:
    request, token = approved(book)
    clock.step(600)  # the wall went on and the monotonic clock, as on Linux, did not
    book.check(request.id, token, plan_digest=request.plan_digest)
    clock.pass_by(TTL - 600)
    assert refusal(book, request, token) == Refusal.EXPIRED
