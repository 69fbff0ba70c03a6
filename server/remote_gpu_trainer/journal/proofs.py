"""Copies and what was proven of them, as rows."""

import sqlite3
from datetime import datetime

from pydantic import JsonValue

from remote_gpu_trainer.database.rows import append_event
from remote_gpu_trainer.database.text import dump, load
from remote_gpu_trainer.domain.artifacts import CopyReceipt, VerificationReport
from remote_gpu_trainer.domain.ids import CopyId, LeaseId
from remote_gpu_trainer.errors import InvalidRequest, JournalError
from remote_gpu_trainer.journal import parts

_NOTHING = "Nothing was recorded."
_APART = '{"parts":'


def keep_copy(db: sqlite3.Connection, now: datetime, receipt: CopyReceipt) -> None:
    """Keep a receipt. The same again is a no-op.

    Raises:
        JournalError: another receipt has this id.
    """
    manifest = receipt.manifest
    apart = len(manifest.entries) > parts.INLINE
    text = dump(parts.split(receipt) if apart else receipt)
    row = db.execute("SELECT receipt FROM copies WHERE id = ?", (receipt.copy_id,)).fetchone()
    if row is not None:
        if row["receipt"] == text and (not apart or _whole(db, text) == receipt):
            return
        raise JournalError(f"the journal holds another receipt of copy {receipt.copy_id!r}", effect=_NOTHING)
    db.execute("INSERT INTO copies (id, lease, receipt) VALUES (?, ?, ?)", (receipt.copy_id, receipt.lease, text))
    if apart:
        parts.keep(db, receipt.copy_id, manifest.packed)
    facts: dict[str, JsonValue] = {
        "copy": receipt.copy_id,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "manifest": manifest.digest,
    }
    append_event(db, now, receipt.lease, "copy.saved", facts)


def copy(db: sqlite3.Connection, copy_id: CopyId) -> CopyReceipt | None:
    """One receipt."""
    row = db.execute("SELECT receipt FROM copies WHERE id = ?", (copy_id,)).fetchone()
    return None if row is None else _whole(db, row["receipt"])


def copies(db: sqlite3.Connection, lease: LeaseId) -> list[CopyReceipt]:
    """All receipts of a lease, newest first."""
    rows = db.execute("SELECT receipt FROM copies WHERE lease = ? ORDER BY seq DESC", (lease,)).fetchall()
    return [_whole(db, row["receipt"]) for row in rows]


def copy_ids(db: sqlite3.Connection, lease: LeaseId) -> list[CopyId]:
    """Of all receipts of a lease, newest first."""
    return [row["id"] for row in db.execute("SELECT id FROM copies WHERE lease = ? ORDER BY seq DESC", (lease,))]


def _whole(db: sqlite3.Connection, text: str) -> CopyReceipt:
    return parts.load(db, load(parts.Apart, text)) if text.startswith(_APART) else load(CopyReceipt, text)


def keep_verification(db: sqlite3.Connection, now: datetime, report: VerificationReport) -> None:
    """Keep a report on a copy.

    Raises:
        InvalidRequest: the report names no copy.
        JournalError: the journal does not hold that copy.
    """
    if report.copy_id is None:
        raise InvalidRequest("a report without a copy cannot be kept: it would prove nothing", effect=_NOTHING)
    row = db.execute("SELECT lease FROM copies WHERE id = ?", (report.copy_id,)).fetchone()
    if row is None:
        raise JournalError(f"the journal holds no copy {report.copy_id!r}", effect=_NOTHING)
    apart = len(report.files) > parts.INLINE
    text = dump(parts.split_report(report) if apart else report)
    added = db.execute("INSERT INTO verifications (copy, report) VALUES (?, ?)", (report.copy_id, text))
    if apart:
        parts.keep_report(db, int(added.lastrowid or 0), report.packed)
    level = report.lowest_level
    facts: dict[str, JsonValue] = {
        "copy": report.copy_id,
        "passed": report.passed,
        "lowest_level": None if level is None else level.name,
    }
    append_event(db, now, row["lease"], "verification.saved", facts)


def verification(db: sqlite3.Connection, copy_id: CopyId) -> VerificationReport | None:
    """The newest report on a copy."""
    row = db.execute(
        "SELECT seq, report FROM verifications WHERE copy = ? ORDER BY seq DESC LIMIT 1", (copy_id,)
    ).fetchone()
    if row is None:
        return None
    if not row["report"].startswith(_APART):
        return load(VerificationReport, row["report"])
    return parts.load_report(db, row["seq"], load(parts.ReportApart, row["report"]))
