"""The file: private, durable, migrated once, and never overwritten when it is not what it should be."""

import multiprocessing
import sqlite3
import stat
from pathlib import Path

import pytest

from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.database.schema import APPLICATION_ID, MIGRATIONS
from remote_gpu_trainer.errors import JournalError
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import ACCOUNT, LEASE, HandClock, a_lease


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal.db"


def test_the_file_and_its_companions_are_private_to_the_user(file: Path) -> None:
    with Database(file) as database:
        with database.write() as db:
            db.execute("INSERT INTO pins VALUES ('a', 'b')")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
        assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_may_read_is_closed_to_them(file: Path) -> None:
    file.parent.mkdir(mode=0o755)
    file.parent.chmod(0o755)
    Database(file).close()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_to_is_refused(file: Path) -> None:
    file.parent.mkdir()
    file.parent.chmod(0o777)
    with pytest.raises(JournalError, match=r"others may write.*chmod 700"):
        Database(file)
    assert list(file.parent.iterdir()) == []


def test_every_commit_is_on_disk_and_foreign_keys_hold(file: Path) -> None:
    with Database(file) as database, database.read() as db:
        settings = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "application_id", "user_version")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "application_id": APPLICATION_ID,
        "user_version": len(MIGRATIONS),
    }


def test_a_block_that_fails_leaves_nothing(file: Path) -> None:
    with Database(file) as database:
        with pytest.raises(RuntimeError), database.write() as db:
            db.execute("INSERT INTO pins VALUES ('a', 'b')")
            raise RuntimeError
        with database.read() as db:
            assert db.execute("SELECT * FROM pins").fetchall() == []


@pytest.mark.parametrize("content", [b"not a database at all, but some text\n" * 100, b"SQLite format 3\x00garbage"])
def test_a_file_that_is_no_database_is_named_and_left_alone(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700)
    file.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.db is damaged.*rgt reconcile.*Nothing was overwritten"):
        Database(file)
    assert file.read_bytes() == content


def test_a_damaged_page_is_found_when_the_file_is_opened(file: Path) -> None:
    with SqliteJournal(file, clock=HandClock()) as journal:
        for number in range(300):
            journal.record("filler", None, {"text": f"{number}" * 200})
    content = bytearray(file.read_bytes())
    half = len(content) // 2 // 4096 * 4096
    content[half : half + 4096 * 3] = b"\xa5" * 4096 * 3
    file.write_bytes(bytes(content))
    with pytest.raises(JournalError, match="is damaged"):
        Database(file)
    assert file.read_bytes() == bytes(content)


def test_a_row_that_this_program_did_not_write_is_damage_and_not_a_crash(file: Path) -> None:
    with Database(file) as database:
        journal = SqliteJournal(database, clock=HandClock())
        journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
        with database.write() as db:
            db.execute("UPDATE leases SET phase = 'on holiday'")
        with pytest.raises(JournalError, match="is damaged"):
            journal.lease(LEASE)
        with database.write() as db:
            db.execute("UPDATE leases SET phase = 'rented', updated_at = 'yesterday'")
        with pytest.raises(JournalError, match="'yesterday' is not a time"):
            journal.lease(LEASE)


def test_a_file_from_a_newer_version_is_refused(file: Path) -> None:
    Database(file, steps=[*MIGRATIONS, ["CREATE TABLE later (x)"]]).close()
    with pytest.raises(JournalError, match=r"has schema 3.*up to 2.*update remote-gpu-trainer"):
        Database(file)


def test_an_older_file_is_brought_up_to_date_with_what_it_holds(file: Path) -> None:
    with SqliteJournal(file, clock=HandClock()) as journal:
        journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
    later = [*MIGRATIONS, ["CREATE TABLE later (x)", "INSERT INTO later VALUES (1)"], ["INSERT INTO later VALUES (2)"]]
    for _ in range(2):
        with Database(file, steps=later) as database, database.read() as db:
            assert [row[0] for row in db.execute("SELECT x FROM later")] == [1, 2]
            assert db.execute("SELECT count(*) FROM leases").fetchone()[0] == 1


def test_a_step_that_fails_leaves_the_file_at_the_version_before(file: Path) -> None:
    Database(file).close()
    with pytest.raises(JournalError):
        Database(file, steps=[*MIGRATIONS, ["CREATE TABLE half (x)", "CREATE NONSENSE"]])
    with Database(file) as database, database.read() as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone()[0] == 0


def test_another_programs_database_is_not_extended(file: Path) -> None:
    file.parent.mkdir(mode=0o700)
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE photos (id)")
    other.commit()
    other.close()
    with pytest.raises(JournalError, match="another program"):
        Database(file)
    other = sqlite3.connect(file)
    assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["photos"]
    other.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(JournalError, match="cannot be opened"):
        Database(tmp_path / "home" / "journal.db")


def test_a_write_waits_for_another_process_only_so_long_and_a_read_not_at_all(file: Path) -> None:
    with Database(file) as holder, Database(file, patience_s=0.05) as waiter, holder.write() as db:
        db.execute("INSERT INTO pins VALUES ('a', 'b')")
        with waiter.read() as other:
            assert other.execute("SELECT * FROM pins").fetchall() == []
        with pytest.raises(JournalError, match=r"cannot be used now: database is locked.*Nothing was recorded"):
            with waiter.write():
                pass


def test_using_a_closed_file_is_an_error_of_ours(file: Path) -> None:
    database = Database(file)
    database.close()
    database.close()
    with pytest.raises(JournalError), database.read():
        pass


def open_and_record(file: Path, worker: int) -> None:
    with SqliteJournal(file, clock=HandClock()) as journal:
        for _ in range(5):
            journal.record("hello", None, {"worker": worker})


def test_processes_that_open_a_new_file_at_once_make_one_schema(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=open_and_record, args=(file, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=50)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    with SqliteJournal(file, clock=HandClock()) as journal:
        assert len(journal.events()) == 20
