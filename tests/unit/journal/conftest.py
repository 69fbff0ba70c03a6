"""A journal on a real file, under a clock that tests move."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import ACCOUNT, HandClock, a_lease


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal.db"


@pytest.fixture
def journal(file: Path, clock: HandClock) -> Iterator[SqliteJournal]:
    with SqliteJournal(file, clock=clock) as opened:
        yield opened


@pytest.fixture
def rented(journal: SqliteJournal) -> SqliteJournal:
    """A journal with one lease, whose create intent is open."""
    journal.open_lease(a_lease(), account_id=ACCOUNT, request={"image": "x", "secrets": ["HF_TOKEN"]})
    return journal
