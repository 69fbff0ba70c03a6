"""The machine's own list of its files, read as what it is: a stranger's claim."""

import hashlib
import json
import re
from typing import Any, cast

from remote_gpu_trainer.domain.artifacts import Manifest, SkippedEntry
from remote_gpu_trainer.domain.entries import Entries, EntryKind
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.errors import LimitExceeded, RemoteCommandFailed
from remote_gpu_trainer.transfer.hardlinks import HardLinks
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.paths import shown, unsafe_reason

MOST_LINE = 64 << 10
MOST_NUMBER = 1 << 62
EACH_LINE = 512
"""Bytes that the lines of a list may have on average, where it names as much as it may."""
_HASH = re.compile(r"[0-9a-f]{64}")
_KINDS = {kind.value: kind for kind in EntryKind}


class Roster:
    """Takes the output of ``scripts/manifest.py`` in pieces; holds no more than its limits."""

    def __init__(
        self,
        roots: list[str],
        *,
        max_entries: int,
        max_depth: int,
        earlier: "Roster | None" = None,
        within: CopyLimits | None = None,
    ) -> None:
        """With ``within`` the files and bytes of a copy are held to its limits while they are listed."""
        self._roots, self._max_entries, self._max_depth = roots, max_entries, max_depth
        self._earlier, self._within = earlier, within
        self._files = self._bytes = self._heard = 0
        self._rest = b""
        self._entries = Entries()
        self._digest = hashlib.sha256()
        self._in_root = False
        self._lines = self._seen = 0
        self.links = HardLinks()
        """Over all roots."""
        self.manifests: list[Manifest] = []
        self.digests: list[str] = []
        """The sha256 of each list's lines."""
        self.skipped: list[tuple[int, SkippedEntry]] = []
        """Number of the root, and the entry whose name or list line cannot be used."""
        self.unreadable: dict[int, str] = {}
        """Roots that could not be listed at all, with the machine's reason."""

    @property
    def whole(self) -> bool:
        """Whether every root was listed to its end."""
        return not self._in_root and len(self.manifests) == len(self._roots)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, and give back what follows the end of the last list.

        Raises:
            RemoteCommandFailed: the list is not what the builder writes.
            LimitExceeded: it names more than ``max_entries``, or than the copy may take, or is longer than they need.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE:
            raise malformed("a line without end")
        for number, line in enumerate(lines):
            if self.whole:
                rest, self._rest = b"\n".join((*lines[number:], self._rest)), b""
                return rest
            self._line(line)
        self._heard += len(data)
        if self._heard > MOST_LINE * len(self._roots) + EACH_LINE * self._max_entries:
            most = f"{self._max_entries:,} entries"
            raise _beyond(f"the machine sent {show_bytes(self._heard)} of a list that may hold {most}")
        rest, self._rest = (self._rest, b"") if self.whole else (b"", self._rest)
        return rest

    @property
    def heard(self) -> str:
        """The sha256 of the lines of the list that is under way."""
        return self._digest.hexdigest()

    def end(self) -> None:
        """Say that nothing more comes.

        Raises:
            RemoteCommandFailed: the list ends early.
        """
        if not self.whole:
            raise malformed(f"it ends early, in list {len(self.manifests) + 1} of {len(self._roots)}")

    def _line(self, line: bytes) -> None:
        if len(line) > MOST_LINE:
            raise malformed("a line without end")
        try:
            item: Any = json.loads(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as bad:
            raise malformed("a line that is no JSON") from bad
        if not isinstance(item, dict):
            raise malformed("a line that is no object")
        fields = cast(dict[str, Any], item)
        if "rgt_manifest" in fields:
            self._open(fields)
        elif not self._in_root:
            raise malformed("entries before a header")
        elif "entries" in fields and "truncated" in fields:
            self._close(fields)
        else:
            self._entry(fields, line)

    def _open(self, fields: dict[str, Any]) -> None:
        if self._in_root or fields["rgt_manifest"] != 1:
            raise malformed("a header that nobody expects")
        self._in_root, self._lines, self._entries, self._digest = True, 0, Entries(), hashlib.sha256()

    def _close(self, fields: dict[str, Any]) -> None:
        number = len(self.manifests)
        if "unchanged" in fields:
            self._repeat(number, fields)
            return
        if number not in self.unreadable and (fields["entries"] != self._lines or fields.get("digest") != self.heard):
            raise malformed("its own sum does not fit its entries")
        digest, entries = self.heard, self._entries
        self._entries = Entries()
        manifest = Manifest(
            root=self._roots[number], entries=entries.by_path(), truncated=fields["truncated"] is not False
        )
        if self._earlier is not None and self._earlier.digests[number : number + 1] == [digest]:
            same = self._earlier.manifests[number]  # whatever was sent once more, it is held once
            manifest = same if same.truncated is manifest.truncated else manifest
        self.manifests.append(manifest)
        self.digests.append(digest)
        self._in_root = False

    def _repeat(self, number: int, fields: dict[str, Any]) -> None:
        """Take over the earlier list, which the machine says to be the present one: no more a claim than the list."""
        earlier = self._earlier
        if earlier is None or number >= len(earlier.digests) or self._lines or fields["unchanged"] is not True:
            raise malformed("a list that it says is known")
        if fields.get("digest") != earlier.digests[number]:
            raise malformed("its own sum is not that of the list that it says is known")
        self.manifests.append(earlier.manifests[number])
        self.digests.append(earlier.digests[number])
        self.skipped += [pair for pair in earlier.skipped if pair[0] == number]
        if number in earlier.unreadable:
            self.unreadable[number] = earlier.unreadable[number]
        self._in_root = False

    def _entry(self, fields: dict[str, Any], line: bytes) -> None:
        self._seen, self._lines = self._seen + 1, self._lines + 1
        if self._seen > self._max_entries:
            raise _beyond(f"the machine lists more than {self._max_entries:,} entries")
        self._digest.update(line + b"\n")
        number, path = len(self.manifests), fields.get("path")
        if not isinstance(path, str):
            self._skip(f"<name {self._lines} is not UTF-8>", _number(fields, "size") or 0, "its name is not UTF-8")
        elif "error" in fields:
            reason = shown(str(fields["error"]))
            if path == ".":
                self.unreadable[number] = reason
            self._skip(path, _number(fields, "size") or 0, f"could not be read: {reason}")
        elif reason := unsafe_reason(path, max_depth=self._max_depth):
            self._skip(path, _number(fields, "size") or 0, f"unsafe name: {reason}")
        else:
            self._take(path, fields)

    def _take(self, path: str, fields: dict[str, Any]) -> None:
        kind = _KINDS.get(str(fields.get("kind")))
        size, mtime_ns, digest = _number(fields, "size"), _number(fields, "mtime_ns"), fields.get("sha256")
        if kind is None or size is None or size < 0 or mtime_ns is None:
            raise malformed(f"no kind, size or time for {shown(path)}")
        if digest is not None and not (isinstance(digest, str) and _HASH.fullmatch(digest)):
            raise malformed(f"no sha256 for {shown(path)}")
        if kind is EntryKind.FILE:
            self._weigh(size)
            self.links.seen(f"{self._roots[len(self.manifests)]}/{path}", fields.get("inode"), fields.get("nlink"))
        self._entries.append(
            path,
            kind,
            size,
            mtime_ns,
            sha256=digest,
            unstable=fields.get("unstable") is True,
            open_for_writing=fields.get("open_writers") is True,
        )

    def _weigh(self, size: int) -> None:
        self._files, self._bytes = self._files + 1, self._bytes + size
        most = self._within
        if most is not None and (self._files > most.max_files or self._bytes > most.max_bytes):
            raise _beyond(
                f"{self._files:,} files with {show_bytes(self._bytes)} were listed, and that is not all; the policy "
                f"allows {most.max_files:,} files with {show_bytes(most.max_bytes)}"
            )

    def _skip(self, path: str, size: int, reason: str) -> None:
        self.skipped.append((len(self.manifests), SkippedEntry(path=shown(path), size=max(0, size), reason=reason)))


def _number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -MOST_NUMBER < value < MOST_NUMBER else None


def _beyond(what: str) -> LimitExceeded:
    return LimitExceeded(
        what,
        next_step="name narrower paths, pack small files into archives on the machine, or ask the person to raise the "
        "limits in policy.toml",
        effect="Nothing was copied.",
    )


def malformed(what: str) -> RemoteCommandFailed:
    """The error for an answer that is no list as it was asked for."""
    return RemoteCommandFailed(
        f"the machine's list of files is malformed: {what}",
        next_step="look at the machine's Python and disk; the list is made by a script that was sent along",
        effect="Nothing was concluded from it.",
    )
