"""Caps are counted on the journal's meter and on what is already promised, not on hope."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from remote_gpu_trainer.domain.ids import InstanceId, LeaseId
from remote_gpu_trainer.domain.offers import JobShape, job_cost
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import RunPhase
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerHour
from remote_gpu_trainer.errors import BudgetExceeded
from remote_gpu_trainer.journal import SqliteJournal
from remote_gpu_trainer.services.caps import Caps
from remote_gpu_trainer.services.ledger import Ledger
from tests.unit.database.builders import ACCOUNT, HandClock, a_lease, an_offer

COST = job_cost(an_offer(), JobShape(hours=4, disk_gib=GiB(32.0)), UsdPerHour(0.21))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def journal(tmp_path: Path, clock: HandClock) -> Iterator[SqliteJournal]:
    with SqliteJournal(tmp_path / "home" / "journal.db", clock=clock) as opened:
        yield opened


def caps(journal: SqliteJournal, clock: HandClock, policy: Policy, *, leases: int = 1, hours: float = 4.0) -> Caps:
    """After so many rentals of $1 each that were seen running for so many hours."""
    for number in range(leases):
        lease = LeaseId(f"run-{'abcdef'[number] * 6}")
        journal.open_lease(a_lease(lease), account_id=ACCOUNT, request={})
        journal.bind_instance(lease, InstanceId(number + 1))
        journal.move(lease, RunPhase.RENTED, "rented")
        journal.record("observed", lease, {"phase": "running", "usd_per_hour": 0.25})
    clock.pass_by(hours * 3600)
    return Caps(policy, journal, Ledger(journal, clock), clock)


@pytest.mark.parametrize(
    ("policy", "over"),
    [
        (Policy(), ()),
        (Policy(max_usd_per_hour=UsdPerHour(0.1)), ("max_usd_per_hour",)),
        (Policy(max_usd_per_run=Usd(0.5)), ("max_usd_per_run",)),
        (Policy(max_usd_per_day=Usd(1.5)), ("max_usd_per_day",)),
        (Policy(max_usd_per_hour=UsdPerHour(0.1), max_usd_per_run=Usd(0.5)), ("max_usd_per_hour", "max_usd_per_run")),
    ],
)
def test_each_cap_that_breaks_is_named_with_both_numbers(
    journal: SqliteJournal, clock: HandClock, policy: Policy, over: tuple[str, ...]
) -> None:
    found = caps(journal, clock, policy).over(COST, UsdPerHour(0.22))
    assert tuple(one.split(":")[0].split(" ")[0] for one in found) == over
    assert all("the person's cap is $" in one for one in found)


def test_yesterdays_dollars_do_not_count_today_and_count_in_all(journal: SqliteJournal, clock: HandClock) -> None:
    policy = Policy(max_usd_per_day=Usd(1.5), max_usd_total=Usd(1.5))
    held = caps(journal, clock, policy)
    journal.record("observed", LeaseId("run-aaaaaa"), {"phase": "gone", "usd_per_hour": 0.0})
    journal.move(LeaseId("run-aaaaaa"), RunPhase.CLOSED, "gone")
    clock.pass_by(timedelta(hours=30).total_seconds())
    assert held.spent_today() == 0 and held.promised() == 0
    with pytest.raises(BudgetExceeded, match=r"max_usd_total.*Nothing was rented"):
        held.over(COST, UsdPerHour(0.22))


def test_what_running_jobs_were_promised_counts_although_it_is_not_spent(
    journal: SqliteJournal, clock: HandClock
) -> None:
    held = caps(journal, clock, Policy(max_usd_per_day=Usd(1.5)), hours=0.0)
    assert (held.spent_today(), held.promised()) == (0.0, 1.0)
    assert held.over(COST, UsdPerHour(0.22))


def test_the_number_of_instances_is_never_asked_about(journal: SqliteJournal, clock: HandClock) -> None:
    held = caps(journal, clock, Policy(max_instances=2), leases=2)
    with pytest.raises(BudgetExceeded, match="max_instances: 2 are held"):
        held.over(COST, UsdPerHour(0.22))
