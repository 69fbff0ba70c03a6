"""The book as a file: what is changed in it by hand is no consent, and no token can be read from it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import KEY_FILE, SqliteApprovalBook
from remote_gpu_trainer.approval.refusal import MAX_ATTEMPTS, Refusal
from remote_gpu_trainer.approval.rows import binding_of
from remote_gpu_trainer.approval.token import mint, seal
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import (
    ConfigError,
    ConsentError,
    JournalError,
    TokenRejected,
)
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.approval.consents import TTL, approved, refusal_of
from tests.unit.database.builders import (
    LEASE,
    HandClock,
    a_teardown,
)


def test_a_plan_altered_by_hand_is_refused(book: SqliteApprovalBook, database: Database) -> None:
    request, token = approved(book, a_teardown())
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute("UPDATE approvals SET plan = replace(plan, 'out/debug.log', 'out/nothing.log')")
    assert refusal_of(book, request, token) == Refusal.ALTERED


def test_an_altered_open_request_cannot_be_approved(book: SqliteApprovalBook, database: Database) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute("UPDATE approvals SET plan = replace(plan, 'out/debug.log', 'out/nothing.log')")
    with pytest.raises(ConsentError, match="altered"):
        book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE approvals SET expires_at = '2099-01-01T00:00:00.000000Z'",
        "UPDATE approvals SET assurance = 'hardware'",
        "UPDATE approvals SET channel = 'page'",
        "UPDATE approvals SET decided_at = '2026-08-01T12:10:00.000000Z'",
    ],
)
def test_a_term_of_an_approval_changed_by_hand_breaks_its_token(
    book: SqliteApprovalBook, database: Database, change: str
) -> None:
    request, token = approved(book, a_teardown())
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute(change)
    assert refusal_of(book, request, token) == Refusal.WRONG


def test_a_row_made_by_hand_without_the_key_file_is_no_consent(
    book: SqliteApprovalBook, database: Database, file: Path
) -> None:
    request, token = approved(book, a_teardown())
    key = file.with_name(KEY_FILE)
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    assert refusal_of(book, request, token) == Refusal.WRONG


def test_an_approval_written_into_the_database_by_hand_is_no_consent(
    book: SqliteApprovalBook, database: Database, file: Path
) -> None:
    request, _ = approved(book, a_teardown())
    with database.read() as db:
        row = dict(db.execute("SELECT * FROM approvals").fetchone())
    forged = mint()
    known = book.get(request.id)
    assert known is not None and known.state is ApprovalState.APPROVED
    binding = binding_of(known)
    row.update(seq=2, id="ap-forged22", token_salt=b"s" * 16)
    row["token_hash"] = seal(
        forged, key=b"a key of the forger's own choice", salt=b"s" * 16, binding={**binding, "approval": "ap-forged22"}
    )
    columns = ", ".join(row)
    statement = f"INSERT INTO approvals ({columns}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608  # our own names
    with pytest.raises(JournalError, match="starts open"), database.write() as db:
        db.execute(statement, tuple(row.values()))
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_are_born_open")
        db.execute(statement, tuple(row.values()))
    made_up = request.model_copy(update={"id": ApprovalId("ap-forged22")})
    assert refusal_of(book, made_up, forged) == Refusal.WRONG


def test_a_key_file_that_others_may_read_or_that_is_cut_short_is_not_used(book: SqliteApprovalBook, file: Path) -> None:
    request, token = approved(book, a_teardown())
    key = file.with_name(KEY_FILE)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    key.chmod(0o600)
    content = key.read_bytes()
    key.write_bytes(content[:16])
    with pytest.raises(ConfigError, match="16 bytes and should hold 32"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    key.unlink()
    key.mkdir()
    with pytest.raises(ConfigError, match="cannot be used"):
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    key.rmdir()
    key.write_bytes(content)
    key.chmod(0o600)
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})


def test_another_approver_written_by_hand_is_refused(book: SqliteApprovalBook, database: Database) -> None:
    request = book.request(a_teardown(), ttl_s=TTL)
    token = book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.SEALED, by="the passphrase")
    assert book.check(request.id, token, plan_digest=request.plan_digest).approver == "the passphrase"
    for other in ("ada SHA256:abc", None):
        with database.write() as db:
            db.execute("UPDATE approvals SET approver = ?", (other,))
        assert refusal_of(book, request, token) == Refusal.WRONG


def test_a_used_approval_cannot_be_set_back_by_hand(book: SqliteApprovalBook, database: Database) -> None:
    request, token = approved(book, a_teardown())
    book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    with pytest.raises(JournalError, match="never changes"), database.write() as db:
        db.execute("UPDATE approvals SET state = 'approved'")
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_end")
        db.execute("UPDATE approvals SET state = 'approved'")
    assert refusal_of(book, request, token) == Refusal.ALTERED


End = Callable[[SqliteApprovalBook, ApprovalRequest, str], object]
ENDS: dict[str, End] = {
    "declined": lambda book, one, token: book.decline(one.id, channel=Channel.PAGE, reason="no"),
    "void": lambda book, one, token: book.void(one.id, "the machine changed"),
    "spent": lambda book, one, token: book.spend(one.id, token, plan_digest=one.plan_digest, lease=LEASE, request={}),
    "locked": lambda book, one, token: [refusal_of(book, one, mint()) for _ in range(MAX_ATTEMPTS)],
}


@pytest.mark.parametrize("how", ENDS)
def test_a_row_put_back_whole_after_its_end_is_known_by_the_events_of_that_end(
    book: SqliteApprovalBook, database: Database, how: str
) -> None:
    request, token = approved(book, a_teardown())
    with database.read() as db:
        row = dict(db.execute("SELECT * FROM approvals").fetchone())
    ENDS[how](book, request, token)
    with database.write() as db:
        db.execute("DROP TRIGGER approvals_end")
        db.execute("DROP TRIGGER approvals_are_fixed")
        db.execute(f"UPDATE approvals SET {', '.join(f'{name} = :{name}' for name in row)}", row)  # noqa: S608 - ours
    with pytest.raises(TokenRejected, match=f"approved and the journal that it was {how} at") as refused:
        book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    assert refused.value.details["reason"] == Refusal.ALTERED


def test_a_destroy_intent_without_a_spent_consent_cannot_be_written(
    book: SqliteApprovalBook, journal: SqliteJournal, database: Database
) -> None:
    request, _ = approved(book, a_teardown())
    with pytest.raises(JournalError, match="without a consent"):
        journal.open_intent(LEASE, "destroy", {})
    for approval in (None, request.id):
        with pytest.raises(JournalError, match="only by spending a consent"), database.write() as db:
            db.execute(
                "INSERT INTO intents (lease, action, request, state, opened_at, approval)"
                " VALUES (?, 'destroy', '{}', 'open', '2026-08-01T12:00:00.000000Z', ?)",
                (LEASE, approval),
            )


def test_no_token_is_anywhere_on_disk(book: SqliteApprovalBook, file: Path) -> None:
    plans = [a_teardown(nonce=f"n{number}") for number in range(MAX_ATTEMPTS)]
    tokens = [approved(book, plan)[1] for plan in plans]
    forged = mint()
    last = book.request(plans[-1], ttl_s=TTL)
    refusal_of(book, last, forged)
    book.spend(last.id, tokens[-1], plan_digest=last.plan_digest, lease=LEASE, request={})
    on_disk = b"".join(path.read_bytes() for path in sorted(file.parent.iterdir())).upper()
    assert LEASE.upper().encode() in on_disk
    for token in [*tokens, forged]:
        assert token.encode() not in on_disk
        assert token.replace("-", "").encode() not in on_disk
        assert token[:9].encode() not in on_disk


def test_a_book_opened_again_goes_on_where_it_was(file: Path, book: SqliteApprovalBook, clock: HandClock) -> None:
    request, token = approved(book, a_teardown())
    with SqliteApprovalBook(file, clock=clock) as again:
        again.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    assert refusal_of(book, request, token) == Refusal.SPENT


def test_the_file_is_an_ordinary_database_that_others_may_read(book: SqliteApprovalBook, file: Path) -> None:
    approved(book, a_teardown())
    with sqlite3.connect(file) as plain:
        assert plain.execute("SELECT state FROM approvals").fetchone() == ("approved",)
    plain.close()
