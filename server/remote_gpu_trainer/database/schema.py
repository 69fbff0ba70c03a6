"""The schema, as numbered steps. A step that was ever released is never edited: a change is a new step."""

import sqlite3
from collections.abc import Sequence

from remote_gpu_trainer.errors import JournalError

APPLICATION_ID = 0x52475431
"""``RGT1``, written into the file's header: another program's SQLite file is refused, not extended."""

_FIRST = (
    # Small facts that exist once: the account that this journal belongs to, the latest time seen.
    "CREATE TABLE pins (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TRIGGER account_is_pinned BEFORE UPDATE ON pins WHEN OLD.name = 'account_id'
       BEGIN SELECT RAISE(ABORT, 'the account of a journal never changes'); END""",
    """CREATE TRIGGER pins_stay BEFORE DELETE ON pins
       BEGIN SELECT RAISE(ABORT, 'a pinned fact is never removed'); END""",
    """CREATE TABLE leases (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         id TEXT NOT NULL UNIQUE,
         lease TEXT NOT NULL,
         phase TEXT NOT NULL,
         instance_id INTEGER,
         account_id INTEGER,
         job TEXT,
         updated_at TEXT NOT NULL)""",
    "CREATE INDEX leases_by_instance ON leases (instance_id)",
    """CREATE TRIGGER leases_are_fixed BEFORE UPDATE OF seq, id, lease, account_id ON leases
       BEGIN SELECT RAISE(ABORT, 'what a lease asked for never changes'); END""",
    """CREATE TRIGGER leases_keep_their_instance BEFORE UPDATE OF instance_id ON leases
       WHEN OLD.instance_id IS NOT NULL AND NEW.instance_id IS NOT OLD.instance_id
       BEGIN SELECT RAISE(ABORT, 'a lease keeps its instance'); END""",
    """CREATE TRIGGER leases_stay BEFORE DELETE ON leases
       BEGIN SELECT RAISE(ABORT, 'a lease is never removed'); END""",
    """CREATE TABLE events (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         at TEXT NOT NULL,
         lease TEXT,
         kind TEXT NOT NULL,
         data TEXT NOT NULL)""",
    "CREATE INDEX events_by_lease ON events (lease, seq)",
    "CREATE INDEX events_by_kind ON events (kind, seq)",
    """CREATE TRIGGER events_never_change BEFORE UPDATE ON events
       BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TRIGGER events_stay BEFORE DELETE ON events
       BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TRIGGER events_come_last BEFORE INSERT ON events
       WHEN NEW.seq BETWEEN 1 AND (SELECT coalesce(max(seq), 0) FROM events)
       BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TABLE approvals (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         id TEXT NOT NULL UNIQUE,
         action TEXT NOT NULL,
         subject TEXT NOT NULL,
         lease TEXT,
         plan TEXT NOT NULL,
         plan_digest TEXT NOT NULL,
         state TEXT NOT NULL,
         requested_at TEXT NOT NULL,
         expires_at TEXT NOT NULL,
         decided_at TEXT,
         channel TEXT,
         assurance TEXT,
         reason TEXT,
         attempts INTEGER NOT NULL DEFAULT 0,
         token_salt BLOB,
         token_hash BLOB)""",
    "CREATE INDEX approvals_by_subject ON approvals (action, subject, state)",
    """CREATE TRIGGER approvals_are_born_open BEFORE INSERT ON approvals
       WHEN NEW.state IS NOT 'open' OR NEW.token_hash IS NOT NULL OR NEW.channel IS NOT NULL
       BEGIN SELECT RAISE(ABORT, 'a request starts open'); END""",
    """CREATE TRIGGER approvals_are_fixed
       BEFORE UPDATE OF seq, id, action, subject, lease, plan, plan_digest, requested_at, expires_at ON approvals
       BEGIN SELECT RAISE(ABORT, 'what a person was asked never changes'); END""",
    """CREATE TRIGGER approvals_end BEFORE UPDATE ON approvals WHEN OLD.state NOT IN ('open', 'approved')
       BEGIN SELECT RAISE(ABORT, 'a decided request never changes'); END""",
    """CREATE TRIGGER approvals_are_spent_once_approved BEFORE UPDATE OF state ON approvals
       WHEN NEW.state = 'spent' AND OLD.state <> 'approved'
       BEGIN SELECT RAISE(ABORT, 'only an approved request can be spent'); END""",
    """CREATE TRIGGER approvals_stay BEFORE DELETE ON approvals
       BEGIN SELECT RAISE(ABORT, 'a request is never removed'); END""",
    """CREATE TABLE intents (
         id INTEGER PRIMARY KEY AUTOINCREMENT,
         lease TEXT NOT NULL REFERENCES leases (id),
         action TEXT NOT NULL CHECK (action IN ('create', 'destroy', 'stop', 'start', 'bid')),
         request TEXT NOT NULL,
         state TEXT NOT NULL,
         opened_at TEXT NOT NULL,
         closed_at TEXT,
         answer TEXT NOT NULL DEFAULT '{}',
         approval TEXT REFERENCES approvals (id))""",
    "CREATE INDEX intents_by_state ON intents (state, id)",
    "CREATE UNIQUE INDEX one_intent_per_consent ON intents (approval) WHERE approval IS NOT NULL",
    """CREATE TRIGGER destroying_needs_consent BEFORE INSERT ON intents
       WHEN NEW.action = 'destroy' AND NOT EXISTS (
         SELECT 1 FROM approvals WHERE id = NEW.approval AND state = 'spent' AND action = 'destroy'
           AND lease = NEW.lease)
       BEGIN SELECT RAISE(ABORT, 'a destroy intent is opened only by spending a consent for that lease'); END""",
    """CREATE TRIGGER intents_are_fixed BEFORE UPDATE OF id, lease, action, request, opened_at, approval ON intents
       BEGIN SELECT RAISE(ABORT, 'what was asked of the platform never changes'); END""",
    """CREATE TRIGGER intents_end BEFORE UPDATE ON intents WHEN OLD.state NOT IN ('open', 'ambiguous')
       BEGIN SELECT RAISE(ABORT, 'a closed intent never changes'); END""",
    """CREATE TRIGGER intents_stay BEFORE DELETE ON intents
       BEGIN SELECT RAISE(ABORT, 'an intent is never removed'); END""",
    """CREATE TABLE copies (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         id TEXT NOT NULL UNIQUE,
         lease TEXT NOT NULL,
         receipt TEXT NOT NULL)""",
    "CREATE INDEX copies_by_lease ON copies (lease, seq)",
    """CREATE TABLE verifications (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         copy TEXT NOT NULL REFERENCES copies (id),
         report TEXT NOT NULL)""",
    "CREATE INDEX verifications_by_copy ON verifications (copy, seq)",
)

_APPROVER = ("ALTER TABLE approvals ADD COLUMN approver TEXT",)

_LONG_MANIFESTS = (
    # A receipt of a million files would be one text of 200 MB.
    """CREATE TABLE copied_entries (
         copy TEXT NOT NULL REFERENCES copies (id),
         part INTEGER NOT NULL,
         entries BLOB NOT NULL,
         PRIMARY KEY (copy, part))""",
    """CREATE TRIGGER copied_entries_are_fixed BEFORE UPDATE ON copied_entries
       BEGIN SELECT RAISE(ABORT, 'what was copied never changes'); END""",
    """CREATE TRIGGER copied_entries_stay BEFORE DELETE ON copied_entries
       BEGIN SELECT RAISE(ABORT, 'what was copied never changes'); END""",
)

_LONG_REPORTS = (
    # As is the report on them.
    """CREATE TABLE proven_files (
         verification INTEGER NOT NULL REFERENCES verifications (seq),
         part INTEGER NOT NULL,
         files BLOB NOT NULL,
         PRIMARY KEY (verification, part))""",
    """CREATE TRIGGER proven_files_are_fixed BEFORE UPDATE ON proven_files
       BEGIN SELECT RAISE(ABORT, 'what was proven never changes'); END""",
    """CREATE TRIGGER proven_files_stay BEFORE DELETE ON proven_files
       BEGIN SELECT RAISE(ABORT, 'what was proven never changes'); END""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _APPROVER, _LONG_MANIFESTS, _LONG_REPORTS)
"""Step n brings a file from schema n-1 to n. Each runs whole in one transaction."""


def version_of(connection: sqlite3.Connection) -> int:
    """The schema that the file has; 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, name: str, steps: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the file to the newest schema. Several processes may do this at once; each step happens once.

    Raises:
        JournalError: the file is another program's, or was written by a newer version of this one.
    """
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _checked_version(connection, name, len(steps))
            if version == len(steps):
                connection.execute("COMMIT")
                return
            for statement in steps[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:  # whatever ended it, the half-made schema must not stay
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _checked_version(connection: sqlite3.Connection, name: str, newest: int) -> int:
    version = version_of(connection)
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if owner != APPLICATION_ID and (owner or version or tables):
        raise JournalError(
            f"{name} is an SQLite file of another program (application id {owner:#x}, {tables} tables)",
            next_step="point RGT_HOME at another folder",
            effect="Nothing was written to it.",
        )
    if version > newest:
        raise JournalError(
            f"{name} has schema {version}, and this version of the program knows schemas up to {newest}",
            next_step="update remote-gpu-trainer, or point RGT_HOME at another folder",
            effect="Nothing was written to it.",
        )
    return version
