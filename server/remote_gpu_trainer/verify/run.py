"""Verify a folder: against its manifest where there is one, by loading where a loader exists, then by expectations."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import EntryKind, Expectations, Manifest, VerificationReport
from remote_gpu_trainer.domain.entries import Entries
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.errors import InvalidRequest, LimitExceeded, RgtError
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.verify.expect import Judgement, grant, judge
from remote_gpu_trainer.verify.fresh import Known
from remote_gpu_trainer.verify.inspect_file import Stopped, Task, inspect
from remote_gpu_trainer.verify.limits import VerifyLimits
from remote_gpu_trainer.verify.places import files_beneath, open_beneath
from remote_gpu_trainer.verify.roll import Roll, Seen
from remote_gpu_trainer.verify.shards import join
from remote_gpu_trainer.verify.sidefiles import settle, unloaded_weights
from remote_gpu_trainer.verify.workers import Worker

MOMENT_S = 0.05
"""How long files are proven on end; progress is told, and a worker's thread given back, in between."""


@dataclass(frozen=True)
class Progress:
    """How far a verification is."""

    files_done: int
    files: int
    path: str
    """The file that was finished last."""


async def verify(
    destination: Path,
    *,
    manifest: Manifest | None,
    expect: Expectations | None,
    copy_id: CopyId | None,
    clock: Clock,
    known: Mapping[str, Known] | None = None,
    accept_unloaded: Sequence[str] = (),
    weights_must_load: bool = False,
    limits: VerifyLimits | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VerificationReport:
    """Prove each file as far as it can be proven, two at a time.

    With a manifest its files are what is proven; whatever else lies in the folder was not copied, takes no part, and
    cannot meet an expectation. Without one, every regular file beneath the folder is taken, and its digest is simply
    the one computed. ``destination`` may be a single file. ``known`` spares the hashing of files that the copy has
    just proven, while size, times and inode are the same. ``accept_unloaded`` are globs of files that the person wants
    no load of, and ``weights_must_load`` is the person's wish that every weight file reaches LOADS.

    Raises:
        InvalidRequest: nothing is at ``destination``.
        UnsafePath: a name leads out of the folder, or a link or special file stands where a file should.
        LimitExceeded: more files than ``limits.files``.
    """
    limits = limits or VerifyLimits()
    root, single = _place(destination)
    tasks = _tasks(root, single, manifest, known or {}, limits)
    rounds = _Rounds(root, tasks, limits, progress)
    await rounds.run()
    judged = partial(_judged, rounds.roll, expect, accept_unloaded, clock, single=single is not None)
    judgement, now, absent = await anyio.to_thread.run_sync(judged)
    said = set(judgement.missing)
    judgement.missing.extend(path for path in map(tasks.path, absent) if path not in said)
    if weights_must_load:
        judgement.unmet.extend(unloaded_weights(rounds.roll))
    if manifest is not None and manifest.truncated:
        judgement.unmet.append("The manifest ended at a limit, so it does not say what is absent.")
    await anyio.to_thread.run_sync(grant, judgement, rounds.roll)
    return VerificationReport(
        copy_id=copy_id,
        destination=str(root / single) if single else str(root),
        verified_at=now,
        files=rounds.roll.proofs,
        missing=tuple(judgement.missing),
        unmet=tuple(judgement.unmet),
    )


def _judged(
    roll: Roll, expect: Expectations | None, accept_unloaded: Sequence[str], clock: Clock, *, single: bool
) -> tuple[Judgement, datetime, list[int]]:
    """Everything that is thought about the files once all were looked at. Blocking: there may be a million."""
    absent = roll.arrange()
    if not single:
        join(roll)
    settle(roll, accept_unloaded)
    now = clock.now()
    return judge(expect, roll, now) if expect is not None else Judgement(), now, absent


def _place(destination: Path) -> tuple[Path, str | None]:
    place = destination.absolute()
    if place.is_dir():
        return place, None
    if place.is_file():
        return place.parent, place.name
    raise InvalidRequest(f"nothing is at {destination}", effect="Nothing was verified.")


class _Tasks:
    """What is to be proven, by number; each is made when it is asked for."""

    def __init__(self, files: Entries, known: Mapping[str, Known], *, promised: bool) -> None:
        self._files, self._known = files, known
        self.promised = files if promised else None
        """Where a manifest says what each has to be."""

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Task:
        path = self._files.path(number)
        return Task(path, self._files[number] if self.promised is not None else None, self._known.get(path))

    def path(self, number: int) -> str:
        """Where it should be."""
        return self._files.path(number)


def _tasks(
    root: Path, single: str | None, manifest: Manifest | None, known: Mapping[str, Known], limits: VerifyLimits
) -> _Tasks:
    if manifest is None:
        found = Entries()
        for path in [single] if single is not None else files_beneath(root, limits.files):
            found.append(path, EntryKind.FILE, 0, 0)
        return _Tasks(found, known, promised=False)
    files = manifest.files
    if len(files) > limits.files:
        raise LimitExceeded(f"the manifest names {len(files)} files", effect="Nothing was verified.")
    return _Tasks(files, known, promised=True)


class _Rounds:
    """The workers and what they have found."""

    def __init__(
        self, root: Path, tasks: _Tasks, limits: VerifyLimits, progress: Callable[[Progress], None] | None
    ) -> None:
        self.roll = Roll(len(tasks), tasks.promised)
        self._root, self._tasks = root, tasks
        self._waiting = iter(range(len(tasks)))
        self._lock = threading.Lock()
        self._done = 0
        self._last: str | None = None
        self._progress = progress
        self._stop = threading.Event()
        self._refusal: RgtError | None = None
        self._workers = [Worker(limits) for _ in range(max(1, min(limits.workers, 2, len(tasks))))]

    async def run(self) -> None:
        """Work until nothing waits. A cancellation ends the workers at once."""
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            async with anyio.create_task_group() as watched:
                watched.start_soon(self._watch)
                async with anyio.create_task_group() as group:
                    for worker in self._workers:
                        group.start_soon(self._work, root, worker)
                watched.cancel_scope.cancel()
            if self._refusal is not None:
                raise self._refusal
        finally:
            os.close(root)
            for worker in self._workers:
                worker.finish()

    async def _watch(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._stop.set()
            for worker in self._workers:
                worker.close()

    async def _work(self, root: int, worker: Worker) -> None:
        while await anyio.to_thread.run_sync(self._some, root, worker):
            if self._progress is not None and self._last is not None:
                self._progress(Progress(self._done, len(self._tasks), self._last))

    def _some(self, root: int, worker: Worker) -> bool:
        """Prove files for a moment, since to go to a thread for each small one would take longer than the file; whether
        any is left.
        """
        until = time.monotonic() + MOMENT_S
        while self._refusal is None and (number := next(self._waiting, None)) is not None:
            task = self._tasks[number]
            try:
                seen = self._one(root, task, worker)
            except Stopped:
                return False
            except RgtError as error:
                self._refusal = error
                return False
            with self._lock:
                if seen is not None:
                    self.roll.put(number, seen)
                self._done, self._last = self._done + 1, task.path
            if time.monotonic() >= until:
                return True
        return False

    def _one(self, root: int, task: Task, worker: Worker) -> Seen | None:
        fd = open_beneath(root, task.path)
        if fd is None:
            return None
        try:
            return inspect(fd, task, worker, self._stop)
        finally:
            os.close(fd)
