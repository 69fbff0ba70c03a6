"""A model in parts: each part that its index names has to be there, with the tensors that it promises. Pure."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, Severity, VerificationLevel
from remote_gpu_trainer.verify.layout import WEIGHTS
from remote_gpu_trainer.verify.roll import Roll, Seen

NUMBERED = re.compile(r"(.+)-([0-9]{4,6})-of-([0-9]{4,6})(\.[a-z]+)")
"""How transformers, diffusers and llama.cpp name the parts of a model."""
NAMES_MOST = 50_000
"""As many names a loader tells; of a longer list nothing is said to be absent."""


def join(roll: Roll) -> None:
    """Put a finding on each index whose parts do not hold what it promises.

    Where they do, the index has the names of all their tensors, and the parts are marked as such. An ONNX model whose
    weights lie in other files names those as its parts, without saying what is in them.
    """
    indexes = [(at, item) for at, item in roll.asked() if item.shards]
    wanted = {_beside(index, name) for _, index in indexes for name in index.shards}
    places = {path: at for at in range(len(roll)) if (path := roll.path(at)) in wanted} if wanted else {}
    for at, index in indexes:
        found = {name: place for name in index.shards if (place := places.get(_beside(index, name))) is not None}
        parts = {name: roll[place] for name, place in found.items()}
        problem = _problem(index, parts)
        if problem is not None:
            roll.replace(at, _found(index, Severity.ERROR, *problem))
            continue
        names = tuple(dict.fromkeys((*index.names, *(name for part in parts.values() for name in part.names))))
        whole = replace(index, names=names)
        for warning in (_stray(index, parts), _other_size(index, parts)):
            whole = _found(whole, Severity.WARNING, *warning) if warning else whole
        roll.replace(at, whole)
        for name, place in found.items():
            roll.replace(place, replace(parts[name], part=True))
    _find_too_few(roll)


def _beside(index: Seen, name: str) -> str:
    return posixpath.join(posixpath.dirname(index.proof.path), name)


def _find_too_few(roll: Roll) -> None:
    """Put an error on weight files whose name says that they are one of several, where the others are not all here."""
    groups: dict[tuple[str, str, int], dict[int, int]] = {}
    for at in range(len(roll)):
        numbered = NUMBERED.fullmatch(path) if "-of-" in (path := roll.path(at)) else None
        if numbered and roll[at].kind in WEIGHTS:
            begin, number, count, end = numbered.groups()
            groups.setdefault((begin, end, int(count)), {})[int(number)] = at
    for (_, _, count), group in groups.items():
        if len(group) < count:
            said = f"by its name it is one of {count}, and {len(group)} are here"
            for at in group.values():
                roll.replace(at, _found(roll[at], Severity.ERROR, "missing-shard", said))


def _problem(index: Seen, parts: Mapping[str, Seen]) -> tuple[str, str] | None:
    absent = [name for name in index.shards if name not in parts]
    if absent:
        return (
            "missing-shard",
            f"{len(absent)} of its {len(index.shards)} parts are not here, first {absent[0][:120]!r}",
        )
    broken = [
        name
        for name, part in parts.items()
        if part.proof.level < VerificationLevel.DIGEST
        or any(finding.severity is Severity.ERROR for finding in part.proof.findings)
    ]
    if broken:
        return "broken-shard", f"{len(broken)} of its {len(parts)} parts are not whole, first {broken[0][:120]!r}"
    for name, part in parts.items():
        lacking = set(index.shards[name]).difference(part.names) if _tells_all(part) else set[str]()
        if lacking:
            first = min(lacking)
            return "short-shard", f"{name[:120]!r} lacks {len(lacking)} tensors that it promises, first {first[:80]!r}"
    return None


def _tells_all(part: Seen) -> bool:
    return len(part.names) < NAMES_MOST


def _stray(index: Seen, parts: Mapping[str, Seen]) -> tuple[str, str] | None:
    """Tensors in the parts that the index does not name there: no reader of the index will load them."""
    stray = [
        (tensor, name)
        for name, part in parts.items()
        if index.shards[name]
        for tensor in set(part.names).difference(index.shards[name])
    ]
    if not stray:
        return None
    tensor, name = min(stray)
    return "stray-tensor", (
        f"its parts hold {len(stray)} tensors that it does not name there, first {tensor[:80]!r} in {name[:120]!r}"
    )


def _other_size(index: Seen, parts: Mapping[str, Seen]) -> tuple[str, str] | None:
    promised = index.proof.facts.get("total_size")
    sizes = [part.proof.facts.get("tensor_bytes") for part in parts.values()]
    total = sum(size for size in sizes if isinstance(size, int))
    if promised is None or None in sizes or total == promised:
        return None
    return "total-size", f"the tensors of its parts take {total} bytes, and it promises {promised}"


def _found(index: Seen, severity: Severity, code: str, message: str) -> Seen:
    finding = ArtifactFinding(code=code, severity=severity, message=message)
    update: dict[str, object] = {"findings": (*index.proof.findings, finding)}
    if severity is Severity.ERROR:
        update |= {"level": min(index.proof.level, VerificationLevel.DIGEST), "format": None}
    return replace(index, proof=index.proof.model_copy(update=update))
