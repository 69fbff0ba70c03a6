"""A model in parts: each part that its index names has to be there, with the tensors that it promises. Pure."""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, Severity, VerificationLevel
from remote_gpu_trainer.verify.expect import Seen

NAMES_MOST = 50_000
"""As many names a loader tells; of a longer list nothing is said to be absent."""


def joined(seen: Sequence[Seen]) -> list[Seen]:
    """The files, with a finding on each index whose parts do not hold what it promises.

    Where they do, the index has the names of all their tensors, and the parts are marked as such.
    """
    files = {item.proof.path: item for item in seen}
    for index in [item for item in seen if item.shards]:
        folder = posixpath.dirname(index.proof.path)
        parts = {name: files.get(posixpath.join(folder, name)) for name in index.shards}
        absent = [name for name, part in parts.items() if part is None]
        short = [
            (name, sorted(set(index.shards[name]).difference(part.names)))
            for name, part in parts.items()
            if part is not None
            and not any(finding.severity is Severity.ERROR for finding in part.proof.findings)
            and len(part.names) < NAMES_MOST
            and not set(index.shards[name]) <= set(part.names)
        ]
        problem = _problem(absent, short, len(parts))
        if problem is not None:
            files[index.proof.path] = _broken(index, *problem)
            continue
        there = [part for part in parts.values() if part is not None]
        names = tuple(dict.fromkeys(name for part in there for name in part.names))
        files[index.proof.path] = replace(index, names=names)
        files.update({part.proof.path: replace(part, part=True) for part in there})
    return [files[item.proof.path] for item in seen]


def _problem(absent: list[str], short: list[tuple[str, list[str]]], parts: int) -> tuple[str, str] | None:
    if absent:
        return "missing-shard", f"{len(absent)} of its {parts} parts are not here, first {absent[0][:120]!r}"
    if short:
        name, tensors = short[0]
        return "short-shard", f"{name[:120]!r} lacks {len(tensors)} tensors that it promises, first {tensors[0][:80]!r}"
    return None


def _broken(index: Seen, code: str, message: str) -> Seen:
    finding = ArtifactFinding(code=code, severity=Severity.ERROR, message=message)
    update = {
        "findings": (*index.proof.findings, finding),
        "level": min(index.proof.level, VerificationLevel.DIGEST),
        "format": None,
    }
    return replace(index, proof=index.proof.model_copy(update=update))
