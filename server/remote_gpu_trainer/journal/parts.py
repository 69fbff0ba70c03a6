"""Manifests too long for one row: in parts, so that neither writing nor reading ever holds the whole as text."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any, cast

from remote_gpu_trainer.database.text import Unreadable
from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.domain.entries import Entries, ManifestEntry
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.domain.values import Value

INLINE = 2000
"""Entries up to which a manifest stays in its receipt's row."""
EACH = 4096
MOST_BYTES = 64 << 20
"""Of one part: more than so many entries with names of 4 KiB take."""
_NAMED = tuple(ManifestEntry.model_fields)


class Apart(Value):
    """What the receipt's row holds then."""

    parts: int
    receipt: CopyReceipt
    """Without entries."""


def split(receipt: CopyReceipt) -> Apart:
    """A receipt without its entries, and in how many parts these are kept."""
    return Apart(parts=-(-len(receipt.manifest.entries) // EACH), receipt=with_entries(receipt, Entries()))


def with_entries(receipt: CopyReceipt, entries: Entries) -> CopyReceipt:
    """The same receipt with other entries."""
    return receipt.model_copy(update={"manifest": receipt.manifest.model_copy(update={"entries": entries})})


def keep(db: sqlite3.Connection, copy_id: CopyId, entries: Entries) -> None:
    """Write the entries of a copy."""
    rows = ((copy_id, part, zlib.compress(text.encode("ascii"), 1)) for part, text in enumerate(_texts(entries)))
    db.executemany("INSERT INTO copied_entries (copy, part, entries) VALUES (?, ?, ?)", rows)


def load(db: sqlite3.Connection, kept: Apart) -> CopyReceipt:
    """The whole receipt.

    Raises:
        Unreadable: a part is missing or is not what ``keep`` writes.
    """
    found, count, copy_id = Entries(), 0, kept.receipt.copy_id
    for row in db.execute("SELECT part, entries FROM copied_entries WHERE copy = ? ORDER BY part", (copy_id,)):
        if row["part"] != count:
            break
        count += 1
        for entry in _unpacked(row["entries"]):
            found.add(entry)
    if count != kept.parts:
        raise Unreadable(f"part {count + 1} of the {kept.parts} of the manifest of {copy_id} is not there")
    return with_entries(kept.receipt, found)


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
