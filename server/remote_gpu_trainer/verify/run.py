"""Verify a folder: against its manifest where there is one, by loading where a loader exists, then by expectations."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import Expectations, Manifest, VerificationReport
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.errors import InvalidRequest, LimitExceeded, RgtError
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.verify.expect import Judgement, Seen, judge, raised
from remote_gpu_trainer.verify.fresh import Known
from remote_gpu_trainer.verify.inspect_file import Stopped, Task, inspect
from remote_gpu_trainer.verify.limits import VerifyLimits
from remote_gpu_trainer.verify.places import files_beneath, open_beneath
from remote_gpu_trainer.verify.shards import joined
from remote_gpu_trainer.verify.sidefiles import settled, unloaded_weights
from remote_gpu_trainer.verify.workers import Worker


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
    seen = [rounds.seen[task.path] for task in tasks if task.path in rounds.seen]
    missing = [task.path for task in tasks if task.path not in rounds.seen]
    seen = settled(joined(seen) if single is None else seen, accept_unloaded)
    now = clock.now()
    judgement = judge(expect, seen, now) if expect is not None else Judgement()
    judgement.missing.extend(path for path in missing if path not in judgement.missing)
    if weights_must_load:
        judgement.unmet.extend(unloaded_weights(seen))
    if manifest is not None and manifest.truncated:
        judgement.unmet.append("The manifest ended at a limit, so it does not say what is absent.")
    return VerificationReport(
        copy_id=copy_id,
        destination=str(root / single) if single else str(root),
        verified_at=now,
        files=tuple(raised(item.proof, judgement) for item in seen),
        missing=tuple(judgement.missing),
        unmet=tuple(judgement.unmet),
    )


def _place(destination: Path) -> tuple[Path, str | None]:
    place = destination.absolute()
    if place.is_dir():
        return place, None
    if place.is_file():
        return place.parent, place.name
    raise InvalidRequest(f"nothing is at {destination}", effect="Nothing was verified.")


def _tasks(
    root: Path, single: str | None, manifest: Manifest | None, known: Mapping[str, Known], limits: VerifyLimits
) -> list[Task]:
    if manifest is None:
        paths = [single] if single is not None else files_beneath(root, limits.files)
        return [Task(path, None, known.get(path)) for path in paths]
    if len(manifest.files) > limits.files:
        raise LimitExceeded(f"the manifest names {len(manifest.files)} files", effect="Nothing was verified.")
    return [Task(entry.path, entry, known.get(entry.path)) for entry in manifest.files]


class _Rounds:
    """The workers and what they have found."""

    def __init__(
        self, root: Path, tasks: list[Task], limits: VerifyLimits, progress: Callable[[Progress], None] | None
    ) -> None:
        self.seen: dict[str, Seen] = {}
        self._root = root
        self._waiting = list(reversed(tasks))
        self._total = len(tasks)
        self._done = 0
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
        while self._waiting:
            task = self._waiting.pop()
            try:
                seen = await anyio.to_thread.run_sync(self._one, root, task, worker)
            except Stopped:
                return
            except RgtError as error:
                self._waiting.clear()
                self._refusal = error
                return
            if seen is not None:
                self.seen[task.path] = seen
            self._done += 1
            if self._progress is not None:
                self._progress(Progress(self._done, self._total, task.path))

    def _one(self, root: int, task: Task, worker: Worker) -> Seen | None:
        fd = open_beneath(root, task.path)
        if fd is None:
            return None
        try:
            return inspect(fd, task, worker, self._stop)
        finally:
            os.close(fd)
