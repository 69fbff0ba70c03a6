"""A journal and a book on one real file, with one rented instance in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import ACCOUNT, INSTANCE, LEASE, HandClock, a_lease


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    with Database(file) as opened:
        yield opened


@pytest.fixture
def journal(database: Database, clock: HandClock) -> SqliteJournal:
    journal = SqliteJournal(database, clock=clock)
    journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
    journal.bind_instance(LEASE, INSTANCE)
    return journal


@pytest.fixture
def book(database: Database, journal: SqliteJournal, clock: HandClock) -> SqliteApprovalBook:
    return SqliteApprovalBook(database, clock=clock)
