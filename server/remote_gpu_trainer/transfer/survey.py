"""What a local file or folder would send: regular files, what is left out, and where credentials seem to be."""

import codecs
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from remote_gpu_trainer.domain.artifacts import SkippedEntry
from remote_gpu_trainer.domain.entries import Entries, EntryKind
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.rules.secrets import find_secrets, secret_file
from remote_gpu_trainer.transfer.paths import PARTIAL_FOLDER, shown

LEFT_OUT = frozenset({".git", "__pycache__", ".venv", PARTIAL_FOLDER})
"""Folders that are never sent: history, caches and environments of this computer."""
MOST_TEXT = 8 << 20
"""Bytes of one text that are searched for credentials; of a longer one, half at each end."""
SCRIPTS = (".sh", ".bash", ".py")
_LOOK = 8 << 10
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Survey(Value):
    """What would be sent. Paths are relative to the source, with slashes; sizes in bytes."""

    files: int
    bytes: int
    scripts: tuple[tuple[str, int], ...]
    """Path and size of each shell or Python script."""
    secrets: tuple[tuple[str, str], ...]
    """Place and kind of what looks like a credential; never its value."""
    skipped: tuple[SkippedEntry, ...]


@dataclass(frozen=True)
class LocalFile:
    """One regular file on this computer, and how it is called over there."""

    path: str
    """Relative, with slashes."""
    place: Path
    """Where it really is; no link."""
    size: int
    executable: bool

    def open(self) -> int:
        """A descriptor; the caller closes it.

        Raises:
            OSError: it is gone, or no regular file any more.
        """
        fd = os.open(self.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(f"{self.path} is no regular file any more")
        return fd


class LocalFiles(Sequence[LocalFile]):
    """Files below one folder, or one file; each is made when it is asked for. They take some 60 bytes each."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._files = Entries()
        self._executable = bytearray()
        self._elsewhere: dict[int, Path] = {}
        """Places that are not what the path says: links, and a file that is sent by itself."""

    def append(self, file: LocalFile) -> None:
        """Add one."""
        if str(file.place) != f"{self._top}/{file.path}":
            self._elsewhere[len(self)] = file.place
        self._files.append(file.path, EntryKind.FILE, file.size, 0)
        self._executable.append(file.executable)

    def __len__(self) -> int:
        return len(self._executable)

    @overload
    def __getitem__(self, index: int) -> LocalFile: ...
    @overload
    def __getitem__(self, index: slice) -> list[LocalFile]: ...
    def __getitem__(self, index: int | slice) -> LocalFile | list[LocalFile]:
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        if index >= len(self):
            raise IndexError(index)
        path = self._files.path(index)
        place = self._elsewhere.get(index) or self._top / path
        return LocalFile(path, place, self._files.size(index), bool(self._executable[index]))

    def path(self, index: int) -> str:
        """The path of one."""
        return self._files.path(index)

    def total(self) -> int:
        """Bytes of all."""
        return self._files.total()


def gather(source: Path) -> tuple[LocalFiles, list[SkippedEntry]]:
    """The regular files of a source, ordered by path, and everything that is left out, with the reason.

    A link to a file inside the source is sent as that file; every other link is left out.

    Raises:
        InvalidRequest: the source is neither a file nor a folder.
    """
    top = source.resolve()
    if top.is_file():
        files, found = LocalFiles(top), _one(top, top.name, top.stat())
        if not isinstance(found, LocalFile):
            return files, [found]
        files.append(found)
        return files, []
    if not top.is_dir():
        raise InvalidRequest(
            f"{source} is neither a file nor a folder here",
            next_step="name an existing file or folder",
            effect="Nothing was sent to the machine.",
        )
    files = LocalFiles(top)
    skipped: list[SkippedEntry] = []
    for found in _walk(top, top, ""):
        if isinstance(found, LocalFile):
            files.append(found)
        else:
            skipped.append(found)
    return files, sorted(skipped, key=lambda entry: entry.path)


def survey(source: Path) -> Survey:
    """Look at everything that a push would send, before anything is sent. Blocking.

    Names are judged for every file. Contents are judged for texts, a text being what holds no zero byte at its
    beginning, or begins with a Unicode mark; of a text over 8 MiB the first and the last 4 MiB are read.

    Raises:
        InvalidRequest: the source is neither a file nor a folder.
    """
    files, skipped = gather(source)
    secrets: dict[tuple[str, str], None] = {}
    scripts: list[tuple[str, int]] = []
    count = size = 0
    for file in files:
        if named := secret_file(file.path):
            secrets[named.place, named.kind] = None
        try:
            text = _text(file)
        except OSError as bad:
            skipped.append(_skip(file.path, file.size, f"could not be read: {bad.strerror or bad}"))
            continue
        secrets |= dict.fromkeys((one.place, one.kind) for one in find_secrets(text, file.path))
        count, size = count + 1, size + file.size
        if file.path.endswith(SCRIPTS):
            scripts.append((file.path, file.size))
    return Survey(files=count, bytes=size, scripts=tuple(scripts), secrets=tuple(secrets), skipped=tuple(skipped))


def _walk(top: Path, folder: Path, prefix: str) -> Iterator[LocalFile | SkippedEntry]:
    try:
        entries = sorted(os.scandir(folder), key=_as_path)
    except OSError as bad:
        yield _skip(prefix.rstrip("/") or ".", 0, f"the folder could not be read: {bad.strerror}")
        return
    for entry in entries:
        path = prefix + entry.name
        try:
            if entry.name in LEFT_OUT and entry.is_dir(follow_symlinks=False):
                yield _skip(f"{path}/", 0, "a folder that is never sent")
            elif entry.is_dir(follow_symlinks=False):
                yield from _walk(top, Path(entry.path), f"{path}/")
            elif entry.is_symlink():
                yield _link(top, Path(entry.path), path)
            else:
                yield _one(Path(entry.path), path, entry.stat(follow_symlinks=False))
        except OSError as bad:
            yield _skip(path, 0, f"could not be read: {bad.strerror}")


def _as_path(entry: "os.DirEntry[str]") -> str:
    """A name as it stands in the paths of what lies there, so that these come in their order."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _link(top: Path, link: Path, path: str) -> LocalFile | SkippedEntry:
    target = link.resolve()
    if not target.is_relative_to(top):
        return _skip(path, 0, "a link that leaves the folder")
    if any(part in LEFT_OUT for part in target.relative_to(top).parts):
        return _skip(path, 0, "a link into a folder that is never sent")
    if not target.is_file():
        return _skip(path, 0, "a link to a folder, or to nothing; the folder's files go under their own names")
    return _one(target, path, target.stat())


def _one(place: Path, path: str, seen: os.stat_result) -> LocalFile | SkippedEntry:
    if not stat.S_ISREG(seen.st_mode):
        return _skip(path, 0, "a socket, pipe or device")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return _skip(path, seen.st_size, "its name is not UTF-8")
    return LocalFile(path, place, seen.st_size, bool(seen.st_mode & stat.S_IXUSR))


def _text(file: LocalFile) -> str:
    """The text of a file; empty for what is no text."""
    with os.fdopen(file.open(), "rb") as content:
        begin = content.read(_LOOK)
        coding = next((name for mark, name in _MARKS if begin.startswith(mark)), None)
        if coding is None and b"\0" in begin:
            return ""
        if file.size <= MOST_TEXT:
            whole = begin + content.read(MOST_TEXT)
        else:
            whole = begin + content.read(MOST_TEXT // 2 - len(begin)) + b"\n"
            content.seek(-MOST_TEXT // 2, os.SEEK_END)
            whole += content.read(MOST_TEXT // 2)
    return whole.decode(coding or "utf-8", "replace")


def _skip(path: str, size: int, reason: str) -> SkippedEntry:
    return SkippedEntry(path=shown(path), size=size, reason=reason)
