"""Asking through the client: the same question each time, and only the exact name is a yes."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.elicitation import QUESTION_LIMIT, judge_answer, question
from remote_gpu_trainer.approval.typedname import why_not
from remote_gpu_trainer.domain.approvals import ApprovalRequest
from remote_gpu_trainer.domain.plans import Loss
from tests.unit.database.builders import HandClock, a_teardown

NAME = "digits-k3vq7m"


@pytest.fixture
def request_(book: SqliteApprovalBook) -> ApprovalRequest:
    return book.request(a_teardown(), ttl_s=900)


def test_the_question_is_the_same_after_time_has_passed(
    book: SqliteApprovalBook, clock: HandClock, request_: ApprovalRequest
) -> None:
    first = question(request_)
    clock.pass_by(300)
    again = book.get(request_.id)
    assert again is not None and question(again) == first


def test_the_question_says_what_is_lost_what_to_type_and_where_the_rest_is(request_: ApprovalRequest) -> None:
    text = question(request_)
    assert "1 file not saved" in text
    assert f"type the name exactly: {NAME}\n" in text
    assert f"rgt approve {request_.id}" in text
    assert len(text) <= QUESTION_LIMIT


def test_a_huge_plan_still_fits_the_question(book: SqliteApprovalBook) -> None:
    losses = tuple(Loss(path="x" * 4000, size=number, reason="y" * 4000) for number in range(50))
    assert len(question(book.request(a_teardown(losses=losses, job="z" * 9000), ttl_s=900))) <= QUESTION_LIMIT


def test_the_exact_name_is_a_yes(request_: ApprovalRequest) -> None:
    answer = judge_answer(request_, "accept", NAME)
    assert answer.agreed and answer.reason == ""


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "nothing was typed"),
        ("   ", "nothing was typed"),
        ("yes", "not the instance's name"),
        ("DIGITS-K3VQ7M", "other capitals"),
        (f"{NAME} ", "spaces around"),
        (f"{NAME}\n", "spaces around"),
        ("d\u0456gits-k3vq7m", "outside ASCII"),
        ("\uff44igits-k3vq7m", "made of other characters"),
        ("digits\u2010k3vq7m", "outside ASCII"),
        ("digits-k3vq7m\u200b", "outside ASCII"),
        ("digits-k3vq7", "not the instance's name"),
        ("hunter2 correct horse", "not the instance's name"),
    ],
)
def test_anything_but_the_exact_name_is_a_no_and_is_not_repeated(
    request_: ApprovalRequest, typed: str, reason: str
) -> None:
    answer = judge_answer(request_, "accept", typed)
    assert not answer.agreed and reason in answer.reason
    assert len(typed.strip()) < 4 or typed not in answer.reason


@given(st.text(max_size=20).filter(lambda typed: typed != NAME))
def test_no_other_text_is_a_yes(typed: str) -> None:
    assert why_not(typed, NAME)


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_declining_or_closing_is_a_no_even_with_the_name(
    request_: ApprovalRequest, action: Literal["decline", "cancel"]
) -> None:
    answer = judge_answer(request_, action, NAME)
    assert not answer.agreed and answer.reason


def test_an_answer_without_a_name_is_a_no(request_: ApprovalRequest) -> None:
    assert not judge_answer(request_, "accept", None).agreed
