"""Halves of files: their names tell whose they are, so that the other route builds on them, or clears them away."""

import contextlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.errors import UnsafePath
from remote_gpu_trainer.transfer.chunks import ChunkMap
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.paths import PARTIAL_FOLDER
from remote_gpu_trainer.transfer.tasks import STEM, FileTask, stem

STAGING, BASES = "rescue", "rescue-bases"
_NAME = re.compile(r"[0-9a-f]{64}")
_UNDER_WAY = re.compile(r"\.(.+)\.[0-9A-Za-z]{6}")
"""How rsync calls a file that it is writing: one that was killed leaves it so."""


def staging_of(landing: Landing, lease: LeaseId) -> Path:
    """Where a rescue of this lease keeps files until they are proven, under their whole names on the disk."""
    return landing.path / PARTIAL_FOLDER / STAGING / lease


def name_on_disk(task: FileTask) -> str:
    """The name of a file on the machine's disk, without the slash at its beginning."""
    return f"{task.root}/{task.there}".lstrip("/")


def begun_over_ssh(landing: Landing, tasks: Mapping[str, FileTask]) -> dict[str, str]:
    """By their keys, the largest half of each of these files, of whatever size and time the file was when it began."""
    by_stem = _by_stem(landing)
    found: dict[str, str] = {}
    if by_stem:
        for key, task in tasks.items():
            if names := by_stem.get(stem(task.source, task.path)):
                found[key] = max(names, key=landing.partial_size)
    return found


@contextlib.contextmanager
def lent(landing: Landing, halves: Mapping[str, str]) -> Generator[Path | None]:
    """A folder in which halves lie under other names as well, for reading; None where there is none to lend."""
    place = landing.path / PARTIAL_FOLDER / BASES
    shutil.rmtree(place, ignore_errors=True)
    if not halves:
        yield None
        return
    shown = Landing(place)
    try:
        for path, half in halves.items():
            # Where the file system has no links, and where something is in the way, the whole file is fetched.
            with contextlib.suppress(OSError, UnsafePath):
                landing.lend(half, shown, path)
        yield place
    finally:
        shown.close()
        shutil.rmtree(place, ignore_errors=True)


def clear(landing: Landing, chunks: ChunkMap, tasks: Iterable[FileTask], lease: LeaseId) -> None:
    """Drop what either route has left of files that are whole now; halves of all others stay, whoever's they are."""
    by_stem, staging = _by_stem(landing), staging_of(landing, lease)
    shutil.rmtree(landing.path / PARTIAL_FOLDER / BASES, ignore_errors=True)  # of a rescue that was killed
    staged = staging.is_dir()
    if not by_stem and not staged:
        return
    whole: set[str] = set()
    for task in tasks:
        if task.sha256 is None:
            continue
        for name in by_stem.get(stem(task.source, task.path), ()):
            with contextlib.suppress(OSError):
                landing.drop_partial(name)
                chunks.forget(name)
        if staged:
            whole.add(name_on_disk(task))
    if staged:
        _clear_staged(staging, whole)


def _clear_staged(staging: Path, whole: set[str]) -> None:
    for place, _, names in os.walk(staging, topdown=False):
        for name in names:
            under_way = _UNDER_WAY.fullmatch(name)
            called = {name} if under_way is None else {name, under_way[1]}
            if whole & {(Path(place) / each).relative_to(staging).as_posix() for each in called}:
                with contextlib.suppress(OSError):
                    os.unlink(Path(place, name))
        with contextlib.suppress(OSError):  # it holds something yet
            os.rmdir(place)
    with contextlib.suppress(OSError):
        os.rmdir(staging.parent)


def _by_stem(landing: Landing) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in landing.unfinished():
        if _NAME.fullmatch(name):
            found[name[:STEM]].append(name)
    return dict(found)
