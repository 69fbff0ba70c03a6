"""The journal's meter: an unknown price is never nothing, and only the time that is asked for counts."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.errors import UnknownRun
from remote_gpu_trainer.journal import SqliteJournal
from remote_gpu_trainer.services.ledger import Ledger
from tests.unit.database.builders import ACCOUNT, LEASE, START, HandClock, a_lease

AGREED = 0.25
Look = tuple[str, float | None]

HOURS_OF_LOOKS: list[tuple[str, list[Look], float]] = [
    ("no look", [], 0),
    ("a price that was never named", [("running", None)] * 4, 4 * AGREED),
    ("a price that was never named, and then it is gone", [("running", None), ("gone", 0.0), ("gone", 0.0)], AGREED),
    ("a price that is named late", [("running", None), ("running", 0.5), ("running", 0.5)], 3 * 0.5),
    ("a price that was named once", [("running", 0.5), ("stopped", None)], 2 * 0.5),
    ("a phase that costs nothing", [("offline", 0.0)] * 3, 0),
    ("running, then resting", [("running", 0.5), ("stopped", 0.1), ("stopped", 0.1)], 0.5 + 2 * 0.1),
]


@pytest.mark.parametrize(("why", "looks", "usd"), HOURS_OF_LOOKS, ids=[one[0] for one in HOURS_OF_LOOKS])
def test_each_look_counts_until_the_next_and_an_unknown_price_is_never_nothing(
    tmp_path: Path, why: str, looks: list[Look], usd: float
) -> None:
    clock = HandClock()
    with SqliteJournal(tmp_path / "journal.db", clock=clock) as journal:
        journal.open_lease(a_lease(usd_per_hour=AGREED), account_id=ACCOUNT, request={})
        for phase, price in looks:
            seen: dict[str, JsonValue] = {"phase": phase, "usd_per_hour": price}
            journal.record("observed", LEASE, seen)
            clock.pass_by(3600)
        ledger = Ledger(journal, clock)
        assert ledger.spent(LEASE) == pytest.approx(usd), why
        assert ledger.spent(LEASE, since=clock.now()) == 0


def test_what_came_before_the_moment_that_is_asked_for_does_not_count(tmp_path: Path) -> None:
    clock = HandClock()
    with SqliteJournal(tmp_path / "journal.db", clock=clock) as journal:
        journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
        journal.record("observed", LEASE, {"phase": "running", "usd_per_hour": 0.5})
        clock.pass_by(10 * 3600)
        assert Ledger(journal, clock).spent(LEASE, since=START + timedelta(hours=7)) == pytest.approx(3 * 0.5)


def test_a_run_that_the_journal_does_not_hold_has_cost_nothing_that_could_be_said(tmp_path: Path) -> None:
    clock = HandClock()
    with SqliteJournal(tmp_path / "journal.db", clock=clock) as journal, pytest.raises(UnknownRun):
        Ledger(journal, clock).spent(LeaseId("nobody-aaaaaa"))
