"""Several processes on one file, some of them killed: a token is still used once, and never lost in between."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.refusal import Refusal
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.runs import IntentState
from remote_gpu_trainer.errors import ConsentError, JournalError, TokenRejected
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import LEASE, HandClock, a_standing, a_teardown

ROOT = Path(__file__).parents[3]
ATTEMPTS = 25


def approved(book: SqliteApprovalBook) -> tuple[ApprovalRequest, str]:
    request = book.request(a_teardown(), ttl_s=900)
    return request, book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)


def agreed_beforehand(book: SqliteApprovalBook) -> tuple[ApprovalRequest, str]:
    """A teardown that nobody is asked about, and the consent given beforehand that stands for a token."""
    standing = book.request(a_standing(), ttl_s=12 * 3600)
    book.approve(standing.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    return book.request(a_teardown(), ttl_s=900), standing.id


MEANS = {"a token": approved, "a consent given beforehand": agreed_beforehand}


def spend(book: SqliteApprovalBook, request: ApprovalRequest, means: str, **written: str) -> None:
    """Use a token, or a consent given beforehand, by its own way."""
    if means.startswith("ap-"):
        standing = ApprovalId(means)
        book.spend_by_standing(
            request.id, standing, plan_digest=request.plan_digest, lease=LEASE, request=dict(written)
        )
    else:
        book.spend(request.id, means, plan_digest=request.plan_digest, lease=LEASE, request=dict(written))


def spend_often(file: Path, request: ApprovalRequest, means: str, start: Barrier) -> None:
    """Ends with the number of wins as exit status; 100 when a loser was told a wrong reason."""

    def attempt(_: int) -> int:
        try:
            spend(book, request, means)
        except TokenRejected as problem:
            return 0 if problem.details["reason"] == Refusal.SPENT else 100
        return 1

    with SqliteApprovalBook(file, clock=HandClock()) as book, ThreadPoolExecutor(5) as pool:
        start.wait(timeout=40)
        sys.exit(min(100, sum(pool.map(attempt, range(ATTEMPTS)))))


@pytest.mark.parametrize("by", MEANS)
def test_of_fifty_attempts_from_two_processes_exactly_one_wins(
    book: SqliteApprovalBook, journal: SqliteJournal, file: Path, by: str
) -> None:
    request, means = MEANS[by](book)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    racers = [context.Process(target=spend_often, args=(file, request, means, start)) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(timeout=50)
    assert sorted(racer.exitcode or 0 for racer in racers) == [0, 1]
    assert [intent.action for intent in journal.open_intents()] == ["create", "destroy"]
    spent = [event.data["approval"] for event in journal.events(LEASE, kind="approval.spent")]
    assert spent == ([means, request.id] if means.startswith("ap-") else [request.id])
    assert len(journal.events(LEASE, kind="approval.refused")) == 2 * ATTEMPTS - 1


def test_two_approvals_at_once_mint_one_token(book: SqliteApprovalBook, file: Path) -> None:
    request = book.request(a_teardown(), ttl_s=900)

    def approve(_: int) -> str | None:
        with SqliteApprovalBook(file, clock=HandClock()) as own:
            try:
                return own.approve(request.id, channel=Channel.PAGE, assurance=AssuranceLevel.PERSON)
            except ConsentError:
                return None

    with ThreadPoolExecutor(8) as pool:
        minted = [token for token in pool.map(approve, range(8)) if token]
    assert len(minted) == 1
    book.check(request.id, minted[0], plan_digest=request.plan_digest)


PROGRAM = """
import sys
from collections.abc import Mapping
from pathlib import Path
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.domain.ids import LeaseId
from tests.unit.database.builders import HandClock

def wait_to_be_killed():
    print("now", flush=True)
    sys.stdin.read()

class KillMeWhileThisIsWritten(Mapping):
    def __getitem__(self, key): raise KeyError(key)
    def __len__(self): return 1
    def __iter__(self):
        wait_to_be_killed()
        return iter(())

file, approval, means, digest, when = sys.argv[1:]
with SqliteApprovalBook(Path(file), clock=HandClock()) as book:
    request = KillMeWhileThisIsWritten() if when == "inside" else {"instance": 26548123}
    spend = book.spend_by_standing if means.startswith("ap-") else book.spend
    spend(approval, means, plan_digest=digest, lease=LeaseId("digits-k3vq7m"), request=request)
    wait_to_be_killed()
"""


def killed_while_spending(file: Path, request: ApprovalRequest, means: str, when: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file), request.id, means, request.plan_digest, when],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        child.kill()
        assert child.wait(timeout=20) == -9


@pytest.mark.parametrize("by", MEANS)
def test_killed_between_spending_and_the_delete_the_intent_is_found_and_the_consent_is_gone(
    book: SqliteApprovalBook, file: Path, clock: HandClock, by: str
) -> None:
    request, means = MEANS[by](book)
    killed_while_spending(file, request, means, "after")
    with SqliteJournal(file, clock=clock) as restarted:
        intent = restarted.open_intents()[-1]
        assert (intent.action, intent.state) == ("destroy", IntentState.OPEN)
        assert intent.request == {"instance": 26548123}
    with SqliteApprovalBook(file, clock=clock) as restarted_book:
        with pytest.raises(TokenRejected) as caught:
            spend(restarted_book, request, means)
        assert restarted_book.standing(LEASE) == []
        assert caught.value.details["reason"] == Refusal.SPENT


@pytest.mark.parametrize("by", MEANS)
def test_killed_inside_the_transaction_nothing_was_spent(
    book: SqliteApprovalBook, journal: SqliteJournal, file: Path, by: str
) -> None:
    request, means = MEANS[by](book)
    killed_while_spending(file, request, means, "inside")
    assert [intent.action for intent in journal.open_intents()] == ["create"]
    known = book.get(request.id)
    before = ApprovalState.OPEN if means.startswith("ap-") else ApprovalState.APPROVED
    assert known is not None and known.state is before
    spend(book, request, means)


@pytest.mark.parametrize("by", MEANS)
def test_a_full_disk_spends_nothing(
    book: SqliteApprovalBook, journal: SqliteJournal, database: Database, by: str
) -> None:
    request, means = MEANS[by](book)
    with database.read() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"disk is full.*free space"):
        spend(book, request, means, x="y" * 50_000)
    with database.read() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert [intent.action for intent in journal.open_intents()] == ["create"]
    spend(book, request, means)
