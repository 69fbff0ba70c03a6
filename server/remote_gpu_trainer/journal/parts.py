"""Lists too long for one row: in parts, so that neither writing nor reading ever holds the whole as text."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from remote_gpu_trainer.database.text import Unreadable
from remote_gpu_trainer.domain.artifacts import CopyReceipt, FileProof, VerificationReport
from remote_gpu_trainer.domain.entries import Entries, ManifestEntry
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.domain.proofs import Proofs
from remote_gpu_trainer.domain.values import Value

INLINE = 2000
"""Entries up to which a manifest stays in its receipt's row, or the files of a report in the report's."""
EACH = 4096
MOST_BYTES = 64 << 20
"""Of one part: more than so many entries with names of 4 KiB take."""
V = TypeVar("V", bound=Value)


class Apart(Value):
    """What the receipt's row holds then."""

    parts: int
    receipt: CopyReceipt
    """Without entries."""


class ReportApart(Value):
    """What the report's row holds then."""

    parts: int
    report: VerificationReport
    """Without files."""


def split(receipt: CopyReceipt) -> Apart:
    """A receipt without its entries, and in how many parts these are kept."""
    return Apart(parts=-(-len(receipt.manifest.entries) // EACH), receipt=with_entries(receipt, Entries()))


def split_report(report: VerificationReport) -> ReportApart:
    """A report without its files, and in how many parts these are kept."""
    return ReportApart(parts=-(-len(report.files) // EACH), report=report.model_copy(update={"files": Proofs()}))


def with_entries(receipt: CopyReceipt, entries: Entries) -> CopyReceipt:
    """The same receipt with other entries."""
    return receipt.model_copy(update={"manifest": receipt.manifest.model_copy(update={"entries": entries})})


def keep(db: sqlite3.Connection, copy_id: CopyId, entries: Entries) -> None:
    """Write the entries of a copy."""
    rows = ((copy_id, part, data) for part, data in enumerate(_packed(entries, ManifestEntry)))
    db.executemany("INSERT INTO copied_entries (copy, part, entries) VALUES (?, ?, ?)", rows)


def keep_report(db: sqlite3.Connection, verification: int, files: Proofs) -> None:
    """Write the files of a report."""
    rows = ((verification, part, data) for part, data in enumerate(_packed(files, FileProof)))
    db.executemany("INSERT INTO proven_files (verification, part, files) VALUES (?, ?, ?)", rows)


def load(db: sqlite3.Connection, kept: Apart) -> CopyReceipt:
    """The whole receipt.

    Raises:
        Unreadable: a part is missing or is not what ``keep`` writes.
    """
    copy_id, found = kept.receipt.copy_id, Entries()
    rows = db.execute("SELECT part, entries FROM copied_entries WHERE copy = ? ORDER BY part", (copy_id,))
    for entry in _parts(rows, kept.parts, ManifestEntry, f"the manifest of {copy_id}"):
        found.add(entry)
    return with_entries(kept.receipt, found)


def load_report(db: sqlite3.Connection, verification: int, kept: ReportApart) -> VerificationReport:
    """The whole report.

    Raises:
        Unreadable: a part is missing or is not what ``keep_report`` writes.
    """
    rows = db.execute("SELECT part, files FROM proven_files WHERE verification = ? ORDER BY part", (verification,))
    files = Proofs.of(_parts(rows, kept.parts, FileProof, f"the report on {kept.report.copy_id}"))
    return kept.report.model_copy(update={"files": files})


def _packed(values: Iterable[V], kind: type[V]) -> Iterator[bytes]:
    names, left = tuple(kind.model_fields), iter(values)
    while some := [_row(value, names) for value in islice(left, EACH)]:
        yield zlib.compress(json.dumps(some, separators=(",", ":")).encode("ascii"), 1)


def _row(value: Value, names: Sequence[str]) -> list[object]:
    plain = value.model_dump(mode="json")
    return [plain[name] for name in names]


def _parts(rows: sqlite3.Cursor, count: int, kind: type[V], what: str) -> Iterator[V]:
    """The values of all parts, one by one.

    Raises:
        Unreadable: one is missing, or is not one.
    """
    names, came = tuple(kind.model_fields), 0
    for part, data in rows:
        if part != came:
            break
        came += 1
        yield from _unpacked(data, names, kind)
    if came != count:
        raise Unreadable(f"part {came + 1} of the {count} of {what} is not there")


def _unpacked(data: object, names: Sequence[str], kind: type[V]) -> Iterator[V]:
    try:
        engine = zlib.decompressobj()
        text = engine.decompress(cast(bytes, data), MOST_BYTES)
        if not engine.eof:
            raise ValueError("it does not end")
        for row in cast(list[list[Any]], json.loads(text)):
            yield kind.model_validate(dict(zip(names, row, strict=True)))
    except (ValueError, TypeError, zlib.error) as problem:  # pydantic's own is a ValueError
        raise Unreadable(f"a part of a list is not one: {type(problem).__name__}") from problem
