"""One file: hashed by us and loaded by a worker from the same descriptor, at the same time."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, FileProof, ManifestEntry, Severity, VerificationLevel
from remote_gpu_trainer.verify.fresh import Known
from remote_gpu_trainer.verify.registry import HEAD, Format, detect
from remote_gpu_trainer.verify.roll import Seen
from remote_gpu_trainer.verify.workers import Answer, Worker

_READ = 4 << 20


class Stopped(Exception):
    """The verification was cancelled."""


@dataclass(frozen=True)
class Task:
    """What is promised of one file. ``entry`` None: nothing is."""

    path: str
    entry: ManifestEntry | None
    known: Known | None


def inspect(fd: int, task: Task, worker: Worker, stop: threading.Event) -> Seen:
    """Hash, compare and load the open file. Blocks; the wait is bounded by the worker's limits and the disk.

    Raises:
        Stopped: ``stop`` was set.
    """
    before = os.fstat(fd)
    kind = detect(task.path, os.pread(fd, HEAD, 0))
    known = task.known if task.known is not None and task.known.holds_for(before) else None
    if stop.is_set():
        raise Stopped
    if kind is None:
        sha256, answer = known.sha256 if known else hash_of(fd, before.st_size, stop.is_set), None
    else:
        sha256, answer = _both(fd, before.st_size, kind, known, worker, stop)
    after = os.fstat(fd)
    findings = list(_promised(task.entry, before.st_size, sha256))
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    ):
        findings.append(_error("changed", "it changed while it was verified"))
    level = _level(findings, task.entry)
    if level < VerificationLevel.DIGEST:
        answer = None
    findings.extend(_loading(answer, known_format=kind is not None) if level is VerificationLevel.DIGEST else ())
    if answer is not None and answer.loaded and all(f.severity is not Severity.ERROR for f in findings):
        level = VerificationLevel.LOADS
    proof = FileProof(
        path=task.path,
        size=before.st_size,
        sha256=sha256,
        level=level,
        format=kind.name if kind is not None and level is VerificationLevel.LOADS else None,
        mtime_ns=before.st_mtime_ns,
        findings=tuple(findings),
        facts=dict(answer.facts) if answer else {},
    )
    name = None if kind is None else kind.name
    if answer is None:
        return Seen(proof, kind=name)
    numbers = {key: float(text) for key, text in answer.numbers.items()}
    return Seen(proof, tuple(answer.names), numbers, name, answer.shards)


def _both(
    fd: int, size: int, kind: Format, known: Known | None, worker: Worker, stop: threading.Event
) -> tuple[str, Answer]:
    """The hash, while a worker loads the same descriptor."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(worker.load, fd, size, kind)
        try:
            sha256 = hash_of(fd, size, stop.is_set) if known is None else known.sha256
        except Stopped:
            worker.close()
            raise
        return sha256, loading.result()


def hash_of(fd: int, size: int, stopped: Callable[[], bool]) -> str:
    """sha256 of the open file, lower-case hex; ``size`` says how long it seems to be.

    Raises:
        Stopped: ``stopped`` said so between two reads.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(_READ, size + 1)))
    offset = 0
    while count := os.preadv(fd, [buffer], offset):
        if stopped():
            raise Stopped
        digest.update(buffer[:count])
        offset += count
    return digest.hexdigest()


def _promised(entry: ManifestEntry | None, size: int, sha256: str) -> list[ArtifactFinding]:
    if entry is None:
        return []
    findings: list[ArtifactFinding] = []
    if entry.size != size:
        findings.append(_error("size-mismatch", f"it holds {size} bytes and the manifest says {entry.size}"))
    elif entry.sha256 is None:
        findings.append(_found("no-promised-digest", Severity.WARNING, "the manifest holds no digest to compare with"))
    elif entry.sha256 != sha256:
        findings.append(_error("digest-mismatch", f"its sha256 is {sha256} and the manifest says {entry.sha256}"))
    if entry.unstable or entry.open_for_writing:
        findings.append(_found("unstable", Severity.WARNING, "it was still being written when it was listed"))
    return findings


def _level(findings: list[ArtifactFinding], entry: ManifestEntry | None) -> VerificationLevel:
    codes = {finding.code for finding in findings}
    if "size-mismatch" in codes or "changed" in codes:
        return VerificationLevel.PRESENT
    if codes & {"digest-mismatch", "no-promised-digest"} and entry is not None:
        return VerificationLevel.SIZE
    return VerificationLevel.DIGEST


def _loading(answer: Answer | None, *, known_format: bool) -> tuple[ArtifactFinding, ...]:
    if answer is not None:
        return answer.artifact_findings()
    if known_format:
        return ()
    return (_found("no-loader", Severity.NOTE, "no loader knows this format: only its digest was proven"),)


def _error(code: str, message: str) -> ArtifactFinding:
    return _found(code, Severity.ERROR, message)


def _found(code: str, severity: Severity, message: str) -> ArtifactFinding:
    return ArtifactFinding(code=code, severity=severity, message=message)
