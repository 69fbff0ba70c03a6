"""What survives a kill: JSON documents by kind and id in one SQLite file, written before an answer leaves."""

import json
import sqlite3
from pathlib import Path
from typing import Any


class Store:
    """Documents on disk. What ``write`` wrote survives a killed process, though not a lost power supply."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(folder / "emulator.sqlite3", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS docs (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )
        self._last: dict[tuple[str, str], str] = {}

    def write(self, documents: list[tuple[str, str, dict[str, Any]]]) -> None:
        """Write ``(kind, id, body)`` documents in one transaction, skipping those that did not change."""
        changed: list[tuple[str, str, str]] = []
        for kind, ident, body in documents:
            text = json.dumps(body, separators=(",", ":"))
            if self._last.get((kind, ident)) != text:
                changed.append((kind, ident, text))
        if not changed:
            return
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO docs VALUES (?, ?, ?)", changed)
        self._db.execute("COMMIT")
        for kind, ident, text in changed:
            self._last[kind, ident] = text

    def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """All documents of a kind by id."""
        rows = self._db.execute("SELECT id, body FROM docs WHERE kind = ? ORDER BY id", (kind,)).fetchall()
        return {ident: json.loads(body) for ident, body in rows}

    def delete(self, kind: str, ident: str) -> None:
        """Remove one document."""
        self._db.execute("DELETE FROM docs WHERE kind = ? AND id = ?", (kind, ident))
        self._last.pop((kind, ident), None)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
