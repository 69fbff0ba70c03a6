"""A model in parts: each part that its index names has to be there, with the tensors that it promises. Pure."""

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, Severity, VerificationLevel
from remote_gpu_trainer.verify.expect import Seen
from remote_gpu_trainer.verify.layout import WEIGHTS

NUMBERED = re.compile(r"(.+)-([0-9]{4,6})-of-([0-9]{4,6})(\.[a-z]+)")
"""How transformers, diffusers and llama.cpp name the parts of a model."""
NAMES_MOST = 50_000
"""As many names a loader tells; of a longer list nothing is said to be absent."""


def joined(seen: Sequence[Seen]) -> list[Seen]:
    """The files, with a finding on each index whose parts do not hold what it promises.

    Where they do, the index has the names of all their tensors, and the parts are marked as such. An ONNX model whose
    weights lie in other files names those as its parts, without saying what is in them.
    """
    files = {item.proof.path: item for item in seen}
    for index in [item for item in seen if item.shards]:
        folder = posixpath.dirname(index.proof.path)
        places = {name: posixpath.join(folder, name) for name in index.shards}
        parts = {name: files[place] for name, place in places.items() if place in files}
        problem = _problem(index, parts)
        if problem is not None:
            files[index.proof.path] = _found(index, Severity.ERROR, *problem)
            continue
        names = tuple(dict.fromkeys((*index.names, *(name for part in parts.values() for name in part.names))))
        index = replace(index, names=names)
        for warning in (_stray(index, parts), _other_size(index, parts)):
            index = _found(index, Severity.WARNING, *warning) if warning else index
        files[index.proof.path] = index
        files.update({part.proof.path: replace(part, part=True) for part in parts.values()})
    for part in _of_too_few(files.values()):
        files[part.proof.path] = part
    return [files[item.proof.path] for item in seen]


def _of_too_few(seen: Iterable[Seen]) -> list[Seen]:
    """Weight files whose name says that they are one of several, where the others are not all here."""
    groups: dict[tuple[str, str, int], dict[int, Seen]] = {}
    for item in seen:
        numbered = NUMBERED.fullmatch(item.proof.path) if item.kind in WEIGHTS else None
        if numbered:
            begin, number, count, end = numbered.groups()
            groups.setdefault((begin, end, int(count)), {})[int(number)] = item
    return [
        _found(item, Severity.ERROR, "missing-shard", f"by its name it is one of {count}, and {len(group)} are here")
        for (_, _, count), group in groups.items()
        if len(group) < count
        for item in group.values()
    ]


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
