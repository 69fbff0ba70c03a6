"""What the rules said of a call is in the journal: refusals, warnings, and what was accepted by id."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.errors import RuleViolation
from remote_gpu_trainer.journal.store import SqliteJournal
from remote_gpu_trainer.rules.base import Stage, Standing
from remote_gpu_trainer.services.guard import RULES_SAID, Guard
from tests.unit.rules import samples

RUN = LeaseId("digits-k3vq7m")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with SqliteJournal(tmp_path / "journal.sqlite", clock=SystemClock()) as store:
        yield store


def standings(journal: SqliteJournal) -> list[tuple[bool, list[tuple[str, str]]]]:
    told: list[tuple[bool, list[tuple[str, str]]]] = []
    for event in journal.events(kind=RULES_SAID):
        rows = cast(list[dict[str, str]], event.data["findings"])
        told.append((event.data["refused"] is True, [(row["rule"], row["standing"]) for row in rows]))
    return told


def test_an_acknowledgement_is_kept_with_its_rule_and_what_was_seen(journal: SqliteJournal) -> None:
    Guard(journal, Policy()).enforce(Stage.STOP, samples.stop(), effect="", lease=RUN, acknowledged=["VAST1"])

    assert standings(journal) == [(False, [("VAST1", "acknowledged")])]
    assert "a day" in str(journal.events(RUN, kind=RULES_SAID)[0].data)


def test_a_refusal_is_kept_as_one_and_is_not_what_a_later_answer_is_told(journal: SqliteJournal) -> None:
    guard = Guard(journal, Policy())

    with pytest.raises(RuleViolation):
        guard.enforce(Stage.STOP, samples.stop(), effect="", lease=RUN)

    assert standings(journal) == [(True, [("VAST1", "open")])]
    assert guard.said(Stage.STOP, RUN) == ()


def test_the_persons_waiver_is_kept_as_theirs(journal: SqliteJournal) -> None:
    guard = Guard(journal, Policy(waive=("VAST7",)))

    guard.enforce(Stage.RENT, samples.rent(offer=samples.offer(verified=False)), effect="", lease=RUN)

    assert [(one.rule, one.standing) for one in guard.said(Stage.RENT, RUN)] == [("VAST7", Standing.WAIVED)]


def test_a_call_of_which_nothing_is_said_leaves_no_event(journal: SqliteJournal) -> None:
    Guard(journal, Policy()).enforce(Stage.RENT, samples.rent(), effect="", lease=RUN)

    assert journal.events(kind=RULES_SAID) == []


def test_what_one_stage_was_told_is_not_what_another_was(journal: SqliteJournal) -> None:
    guard = Guard(journal, Policy())
    guard.enforce(Stage.STOP, samples.stop(), effect="", lease=RUN, acknowledged=["VAST1"])

    assert guard.said(Stage.START, RUN) == ()
    assert [one.rule for one in guard.said(Stage.STOP, RUN)] == ["VAST1"]
