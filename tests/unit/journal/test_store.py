"""The journal: facts on disk before the world is changed, and none of them lost or rewritten."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.domain.artifacts import (
    ArtifactFinding,
    CopyReceipt,
    EntryKind,
    Manifest,
    ManifestEntry,
    Severity,
    VerificationLevel,
    VerificationReport,
)
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.proofs import Proofs
from remote_gpu_trainer.domain.runs import TRANSITIONS, IntentState, JobSpec, RunPhase
from remote_gpu_trainer.errors import InvalidRequest, JournalError, UnknownRun, WrongPhase
from remote_gpu_trainer.journal import SqliteJournal
from remote_gpu_trainer.ports import Journal
from tests.unit.database.builders import (
    ACCOUNT,
    COPY,
    INSTANCE,
    LEASE,
    START,
    HandClock,
    a_copy,
    a_lease,
    a_report,
)

SECOND = LeaseId("digits-aaaaaa")


def test_the_journal_satisfies_its_port(journal: SqliteJournal) -> None:
    port: Journal = journal
    assert isinstance(port, Journal)


def test_a_lease_and_its_create_intent_are_there_before_the_request_leaves(rented: SqliteJournal) -> None:
    record = rented.lease(LEASE)
    assert record is not None
    assert (record.lease, record.phase, record.instance_id) == (a_lease(), RunPhase.INTENDED, None)
    assert record.account_id == ACCOUNT and record.updated_at == START
    [intent] = rented.open_intents()
    assert (intent.action, intent.state, intent.lease) == ("create", IntentState.OPEN, LEASE)
    assert intent.request == {"image": "x", "secrets": ["HF_TOKEN"]}


def test_what_was_written_is_read_by_another_process_at_once(
    rented: SqliteJournal, file: Path, clock: HandClock
) -> None:
    with SqliteJournal(file, clock=clock) as other:
        assert other.lease(LEASE) == rented.lease(LEASE)
        other.move(LEASE, RunPhase.RENTED, "named by the platform")
    record = rented.lease(LEASE)
    assert record is not None and record.phase is RunPhase.RENTED


def test_a_lease_id_is_used_once(rented: SqliteJournal) -> None:
    with pytest.raises(JournalError, match="already holds a lease"):
        rented.open_lease(a_lease(), account_id=ACCOUNT, request={})
    assert len(rented.leases()) == len(rented.open_intents()) == 1


def test_leases_come_newest_first(rented: SqliteJournal) -> None:
    rented.open_lease(a_lease(SECOND), account_id=ACCOUNT, request={})
    assert [record.lease.id for record in rented.leases()] == [SECOND, LEASE]


def test_a_journal_belongs_to_one_account(rented: SqliteJournal) -> None:
    assert rented.account_id() == ACCOUNT
    rented.pin_account(ACCOUNT)
    with pytest.raises(JournalError, match=r"account 4242.*account 7"):
        rented.pin_account(7)
    with pytest.raises(JournalError, match="account"):
        rented.open_lease(a_lease(SECOND), account_id=7, request={})
    assert rented.lease(SECOND) is None


def test_a_new_journal_belongs_to_nobody_yet(journal: SqliteJournal) -> None:
    assert journal.account_id() is None
    journal.pin_account(5)
    assert journal.account_id() == 5


def test_a_lease_keeps_its_instance(rented: SqliteJournal) -> None:
    rented.bind_instance(LEASE, INSTANCE)
    rented.bind_instance(LEASE, INSTANCE)
    with pytest.raises(JournalError, match=rf"is instance {INSTANCE} and cannot become 7"):
        rented.bind_instance(LEASE, InstanceId(7))
    record = rented.lease_of_instance(INSTANCE)
    assert record is not None and record.lease.id == LEASE
    assert [event.kind for event in rented.events(LEASE, kind="lease.bound")] == ["lease.bound"]


def test_the_newest_lease_of_an_instance_is_the_one_found(rented: SqliteJournal) -> None:
    rented.bind_instance(LEASE, INSTANCE)
    rented.open_lease(a_lease(SECOND), account_id=ACCOUNT, request={})
    rented.bind_instance(SECOND, INSTANCE)
    record = rented.lease_of_instance(INSTANCE)
    assert record is not None and record.lease.id == SECOND
    assert rented.lease_of_instance(InstanceId(1)) is None


def test_an_unknown_lease_is_named(journal: SqliteJournal) -> None:
    for call in (
        lambda: journal.move(LEASE, RunPhase.RENTED, ""),
        lambda: journal.bind_instance(LEASE, INSTANCE),
        lambda: journal.set_job(LEASE, JobSpec(job_id="j", argv=("true",))),
        lambda: journal.open_intent(LEASE, "stop", {}),
    ):
        with pytest.raises(UnknownRun, match=LEASE):
            call()
    assert journal.lease(LEASE) is None and journal.events() == []


@given(walk=st.lists(st.sampled_from(list(RunPhase)), max_size=12))
def test_phases_change_along_the_transitions_and_no_other_way(
    walk: list[RunPhase], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with SqliteJournal(tmp_path_factory.mktemp("walk") / "j.db", clock=HandClock()) as journal:
        journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
        here = RunPhase.INTENDED
        moves = 0
        for phase in walk:
            if phase is here or phase in TRANSITIONS[here]:
                journal.move(LEASE, phase, "as it goes")
                moves += phase is not here
                here = phase
            else:
                with pytest.raises(WrongPhase, match=f"is {here}"):
                    journal.move(LEASE, phase, "as it goes")
            record = journal.lease(LEASE)
            assert record is not None and record.phase is here
        assert len(journal.events(LEASE, kind="lease.moved")) == moves


def test_an_intent_ends_once(rented: SqliteJournal, clock: HandClock) -> None:
    [create] = rented.open_intents()
    clock.pass_by(3)
    rented.close_intent(create.id, IntentState.AMBIGUOUS, {"error": "the answer was lost"})
    [doubtful] = rented.open_intents()
    assert doubtful.state is IntentState.AMBIGUOUS and doubtful.closed_at is None
    rented.close_intent(create.id, IntentState.DONE, {"new_contract": 7})
    rented.close_intent(create.id, IntentState.DONE, {"new_contract": 7})
    assert rented.open_intents() == []
    for state, answer in ((IntentState.FAILED, {}), (IntentState.DONE, {"new_contract": 8})):
        with pytest.raises(JournalError, match="is closed as done"):
            rented.close_intent(create.id, state, answer)
    closed = rented.events(LEASE, kind="intent.closed")
    assert [event.data["state"] for event in closed] == ["ambiguous", "done"]


def test_an_intent_cannot_be_closed_as_open_or_out_of_nothing(rented: SqliteJournal) -> None:
    with pytest.raises(InvalidRequest):
        rented.close_intent(1, IntentState.OPEN, {})
    with pytest.raises(JournalError, match="no intent 99"):
        rented.close_intent(99, IntentState.DONE, {})


def test_intents_come_oldest_first(rented: SqliteJournal) -> None:
    rented.open_intent(LEASE, "stop", {"why": "proof is complete"})
    rented.open_intent(LEASE, "bid", {"usd_per_hour": 0.3})
    assert [intent.action for intent in rented.open_intents()] == ["create", "stop", "bid"]


def test_a_job_is_kept_whole(rented: SqliteJournal) -> None:
    job = JobSpec(job_id="j1", argv=("python", "train.py"), env={"A": "b"}, results=("/workspace/out",), resumes=True)
    rented.set_job(LEASE, job)
    record = rented.lease(LEASE)
    assert record is not None and record.job == job


def test_events_can_be_asked_for_by_lease_kind_and_number(rented: SqliteJournal) -> None:
    for number in range(5):
        rented.record("heartbeat", LEASE, {"step": number})
    rented.record("note", None, {})
    assert [event.data["step"] for event in rented.events(LEASE, kind="heartbeat", limit=3)] == [2, 3, 4]
    assert rented.events(kind="note")[0].lease is None
    sequence = [event.seq for event in rented.events()]
    assert sequence == sorted(sequence)


def test_a_fact_about_a_lease_that_the_journal_lost_can_be_kept(journal: SqliteJournal) -> None:
    journal.record("adopted", SECOND, {"label": "rgt/digits-aaaaaa"})
    assert [event.lease for event in journal.events(SECOND)] == [SECOND]


def test_a_receipt_comes_back_as_it_was_to_the_nanosecond(rented: SqliteJournal) -> None:
    receipt = a_copy(path="bad\x00name\u202e\U0001f600.bin")
    rented.save_copy(receipt)
    rented.save_copy(receipt)
    assert rented.copy(COPY) == receipt
    assert rented.copy(COPY) == rented.copies(LEASE)[0]
    with pytest.raises(JournalError, match="another receipt"):
        rented.save_copy(a_copy(path="other.bin"))
    rented.save_copy(a_copy(CopyId("copy-2")))
    assert [copy.copy_id for copy in rented.copies(LEASE)] == ["copy-2", COPY]
    assert rented.copy(CopyId("none")) is None


def a_long_copy(count: int = 9_000) -> CopyReceipt:
    entries = tuple(
        ManifestEntry(
            path=f"\U0001f600/{number:05d}",
            kind=EntryKind.FILE,
            size=number,
            mtime_ns=1_785_000_000_123_456_789 + number,
            sha256=f"{number:064x}",
            unstable=number % 3 == 0,
        )
        for number in range(count)
    )
    return a_copy().model_copy(update={"manifest": Manifest(root="/workspace/out", entries=entries)})


def test_a_receipt_of_very_many_files_comes_back_as_it_was(rented: SqliteJournal, file: Path) -> None:
    receipt = a_long_copy()
    rented.save_copy(receipt)
    rented.save_copy(receipt)
    kept = rented.copy(COPY)
    assert kept == rented.copies(LEASE)[0] == receipt
    assert kept is not None
    assert kept.manifest.digest == receipt.manifest.digest == rented.events(kind="copy.saved")[-1].data["manifest"]
    with pytest.raises(JournalError, match="another receipt"):
        rented.save_copy(a_long_copy(8_999))
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT max(length(receipt)) FROM copies").fetchone()[0] < 4000
        assert db.execute("SELECT count(*) FROM copied_entries").fetchone()[0] == 3


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM copied_entries WHERE part = 1", "part 2 of the 3"),
        ("DELETE FROM copied_entries WHERE part = 2", "part 3 of the 3"),
        ("DELETE FROM copied_entries", "part 1 of the 3"),
        ("UPDATE copied_entries SET entries = x'78' WHERE part = 0", "is not one"),
    ],
)
def test_a_receipt_that_lacks_a_part_is_no_receipt(rented: SqliteJournal, file: Path, damage: str, says: str) -> None:
    rented.save_copy(a_long_copy())
    with closing(sqlite3.connect(file)) as db:
        with pytest.raises(sqlite3.IntegrityError, match="what was copied never changes"):
            db.execute(damage)
        db.execute("DROP TRIGGER copied_entries_stay")
        db.execute("DROP TRIGGER copied_entries_are_fixed")
        db.execute(damage)
        db.commit()
    with pytest.raises(JournalError, match=says):
        rented.copy(COPY)


def a_long_report(files: int = 9_000) -> VerificationReport:
    """Of very many files, each third of them with something to say."""
    finding = ArtifactFinding(code="no-loader", severity=Severity.NOTE, message="no loader knows this format")
    proof = a_report().files[0]
    each = (
        proof.model_copy(
            update={
                "path": f"out/{number:05}",
                "size": number,
                "findings": (finding,) if number % 3 == 0 else (),
                "facts": {"step": number, "loss": 0.5, "whole": True, "by": "hand"} if number % 3 == 1 else {},
            }
        )
        for number in range(files)
    )
    return a_report().model_copy(update={"files": Proofs.of(each)})


def test_a_report_on_very_many_files_comes_back_as_it_was(rented: SqliteJournal, file: Path) -> None:
    rented.save_copy(a_copy())
    rented.save_verification(a_report())
    report = a_long_report()
    rented.save_verification(report)
    kept = rented.verification(COPY)
    assert kept == report
    assert kept is not None
    assert kept.model_dump_json() == report.model_dump_json()
    assert kept.files[4].facts == {"step": 4, "loss": 0.5, "whole": True, "by": "hand"}
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT max(length(report)) FROM verifications").fetchone()[0] < 4000
        assert db.execute("SELECT count(*) FROM proven_files").fetchone()[0] == 3


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM proven_files WHERE part = 2", "part 3 of the 3 of the report"),
        ("UPDATE proven_files SET files = x'78' WHERE part = 0", "is not one"),
    ],
)
def test_a_report_that_lacks_a_part_is_no_report(rented: SqliteJournal, file: Path, damage: str, says: str) -> None:
    rented.save_copy(a_copy())
    rented.save_verification(a_long_report())
    with closing(sqlite3.connect(file)) as db:
        with pytest.raises(sqlite3.IntegrityError, match="what was proven never changes"):
            db.execute(damage)
        db.execute("DROP TRIGGER proven_files_stay")
        db.execute("DROP TRIGGER proven_files_are_fixed")
        db.execute(damage)
        db.commit()
    with pytest.raises(JournalError, match=says):
        rented.verification(COPY)


def test_the_copies_of_a_run_are_told_without_reading_them(rented: SqliteJournal) -> None:
    assert rented.copy_ids(LEASE) == []
    rented.save_copy(a_copy())
    rented.save_copy(a_copy().model_copy(update={"copy_id": "copy-later"}))
    assert rented.copy_ids(LEASE) == ["copy-later", COPY]


def test_the_newest_report_on_a_copy_counts(rented: SqliteJournal) -> None:
    rented.save_copy(a_copy())
    assert rented.verification(COPY) is None
    rented.save_verification(a_report(level=VerificationLevel.DIGEST))
    rented.save_verification(a_report(level=VerificationLevel.LOADS))
    assert rented.verification(COPY) == a_report(level=VerificationLevel.LOADS)
    assert rented.events(LEASE, kind="verification.saved")[-1].data["lowest_level"] == "LOADS"


def test_a_report_on_no_known_copy_is_refused(rented: SqliteJournal) -> None:
    with pytest.raises(JournalError, match="holds no copy"):
        rented.save_verification(a_report())
    with pytest.raises(InvalidRequest):
        rented.save_verification(a_report(None))


def test_many_threads_lose_no_event(rented: SqliteJournal) -> None:
    def write(worker: int) -> None:
        for number in range(25):
            rented.record("tick", LEASE, {"worker": worker, "number": number})

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    told = [(event.data["worker"], event.data["number"]) for event in rented.events(kind="tick")]
    assert len(told) == len(set(told)) == 200


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events (seq, at, kind, data) VALUES (1, 'x', 'x', '{}')",
        "INSERT OR REPLACE INTO leases (seq, id, lease, phase, updated_at) VALUES (1, 'x', '{}', 'rented', 'x')",
        "DELETE FROM leases",
        "UPDATE leases SET lease = '{}'",
        "UPDATE leases SET instance_id = 9",
        "DELETE FROM intents",
        "UPDATE intents SET request = '{}'",
        "DELETE FROM pins",
        "UPDATE pins SET value = '9' WHERE name = 'account_id'",
    ],
)
def test_history_cannot_be_rewritten(file: Path, clock: HandClock, statement: str) -> None:
    with Database(file) as database:
        journal = SqliteJournal(database, clock=clock)
        journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
        journal.bind_instance(LEASE, INSTANCE)
        before = journal.events()
        with pytest.raises(JournalError, match="refused the change"), database.write() as db:
            db.execute(statement)
        assert journal.events() == before
