"""A model in parts: each part that its index names has to be there, with the tensors that it promises. Pure."""

import posixpath
from dataclasses import replace

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, Severity, VerificationLevel
from remote_gpu_trainer.verify.roll import Roll, Seen

NAMES_MOST = 50_000
"""As many names a loader tells; of a longer list nothing is said to be absent."""


def join(roll: Roll) -> None:
    """Put a finding on each index whose parts do not hold what it promises.

    Where they do, the index has the names of all their tensors, and the parts are marked as such.
    """
    indexes = [(at, item) for at, item in roll.asked() if item.shards]
    wanted = {_beside(index, name) for _, index in indexes for name in index.shards}
    places = {path: at for at in range(len(roll)) if (path := roll.path(at)) in wanted} if wanted else {}
    for at, index in indexes:
        found = {name: places.get(_beside(index, name)) for name in index.shards}
        parts = {name: None if place is None else roll[place] for name, place in found.items()}
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
            roll.replace(at, _broken(index, *problem))
            continue
        there = [part for part in parts.values() if part is not None]
        names = tuple(dict.fromkeys(name for part in there for name in part.names))
        roll.replace(at, replace(index, names=names))
        for name, place in found.items():
            part = parts[name]
            if place is not None and part is not None:
                roll.replace(place, replace(part, part=True))


def _beside(index: Seen, name: str) -> str:
    return posixpath.join(posixpath.dirname(index.proof.path), name)


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
