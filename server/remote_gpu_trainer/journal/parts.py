"""Manifests too long for one row: in parts, so that neither writing nor reading ever holds the whole as text."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any, cast

from remote_gpu_trainer.database.text import Unreadable
from remote_gpu_trainer.domain.entries import Entries, ManifestEntry
from remote_gpu_trainer.domain.ids import CopyId

INLINE = 2000
"""Entries up to which a manifest stays in its receipt's row."""
EACH = 4096
MOST_BYTES = 64 << 20
"""Of one part: more than so many entries with names of 4 KiB take."""
_NAMED = tuple(ManifestEntry.model_fields)


def keep(db: sqlite3.Connection, copy_id: CopyId, entries: Entries) -> None:
    """Write the entries of a copy."""
    of = -(-len(entries) // EACH)
    rows = ((copy_id, part, of, zlib.compress(text.encode("ascii"), 1)) for part, text in enumerate(_texts(entries)))
    db.executemany("INSERT INTO copied_entries (copy, part, parts, entries) VALUES (?, ?, ?, ?)", rows)


def load(db: sqlite3.Connection, copy_id: CopyId) -> Entries | None:
    """The entries of a copy; None where they are in its receipt's row.

    Raises:
        Unreadable: a part is missing or is not what ``keep`` writes.
    """
    found, count, of = Entries(), 0, 0
    rows = db.execute("SELECT part, parts, entries FROM copied_entries WHERE copy = ? ORDER BY part", (copy_id,))
    for row in rows:
        part, of = int(row["part"]), int(row["parts"])
        if part != count:
            break
        count += 1
        for entry in _unpacked(row["entries"]):
            found.add(entry)
    if count != of:
        raise Unreadable(f"part {count + 1} of the {of} of the manifest of {copy_id} is not there")
    return found if count else None


def _texts(entries: Entries) -> Iterator[str]:
    for at in range(0, len(entries), EACH):
        yield json.dumps([_row(entry) for entry in entries[at : at + EACH]], separators=(",", ":"))


def _row(entry: ManifestEntry) -> list[object]:
    return [getattr(entry, name) for name in _NAMED]


def _unpacked(data: object) -> Iterator[ManifestEntry]:
    try:
        engine = zlib.decompressobj()
        text = engine.decompress(cast(bytes, data), MOST_BYTES)
        if not engine.eof:
            raise ValueError("it does not end")
        for row in cast(list[list[Any]], json.loads(text)):
            yield ManifestEntry.model_validate(dict(zip(_NAMED, row, strict=True)))
    except (ValueError, TypeError, zlib.error) as problem:  # pydantic's own is a ValueError
        raise Unreadable(f"a part of a manifest is not one: {type(problem).__name__}") from problem
