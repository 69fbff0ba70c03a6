"""Expectations against what the files turned out to hold. Pure: everything was read before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from remote_gpu_trainer.domain.artifacts import Expectations, FileProof, Severity, VerificationLevel
from remote_gpu_trainer.verify.layout import holds_model


@dataclass(frozen=True)
class Seen:
    """One proven file, with what does not fit into a report."""

    proof: FileProof
    names: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    kind: str | None = None
    """Name of the format whose loader was asked, whatever it answered."""
    shards: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Of the index of a model in parts: files beside it, with the tensors that it promises in each."""
    part: bool = False
    """It is one of the parts, and its index speaks for its tensors' names."""


@dataclass
class Judgement:
    """What does not hold, what is absent, and which files the expectations spoke of."""

    unmet: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    named: set[str] = field(default_factory=set[str])


def judge(expect: Expectations, seen: Sequence[Seen], now: datetime) -> Judgement:
    """Hold the expectations against the files."""
    result = Judgement()
    _roster(expect, seen, result)
    whole = [item.proof for item in seen if item.proof.path in result.named or not result.named]
    _levels(expect, whole, result)
    _age(expect, whole, now, result)
    _step(expect, seen, result)
    _metrics(expect, seen, result)
    _tensor_names(expect, seen, result)
    return result


def _roster(expect: Expectations, seen: Sequence[Seen], result: Judgement) -> None:
    paths = [item.proof.path for item in seen]
    for pattern in expect.files:
        matched = [path for path in paths if matches(path, pattern)]
        result.named.update(matched)
        if not matched:
            result.missing.append(pattern)
    for pattern, count in expect.counts.items():
        matched = [path for path in paths if matches(path, pattern)]
        result.named.update(matched)
        if len(matched) != count:
            result.unmet.append(f"{len(matched)} files match {pattern!r} where {count} are expected.")
    if expect.min_count is not None and len(paths) < expect.min_count:
        result.unmet.append(f"{len(paths)} files are there and at least {expect.min_count} are expected.")
    extra = [path for path in paths if path not in result.named]
    if expect.exact_roster and extra:
        result.unmet.append(f"{len(extra)} files are there that nothing expects, first {extra[0]!r}.")


def matches(path: str, pattern: str) -> bool:
    """A literal name, or a glob whose ``*`` crosses folders and whose leading ``**/`` may stand for none."""
    return path == pattern or any(fnmatchcase(path, one) for one in {pattern, pattern.removeprefix("**/")})


def _levels(expect: Expectations, whole: Sequence[FileProof], result: Judgement) -> None:
    # MEETS_EXPECTATIONS is what this judgement grants, so the most that a file can bring to it is LOADS.
    least = min(expect.min_level, VerificationLevel.LOADS)
    result.unmet.extend(
        f"{proof.path} reached {proof.level.name} and {expect.min_level.name} is expected."
        for proof in whole
        if proof.level < least
    )


def _age(expect: Expectations, whole: Sequence[FileProof], now: datetime, result: Judgement) -> None:
    if expect.max_age_hours is None:
        return
    newest = max((proof.mtime_ns for proof in whole), default=None)
    hours = math.inf if newest is None else (now.timestamp() - newest / 1e9) / 3600
    if hours > expect.max_age_hours:
        result.unmet.append(f"The newest file is {hours:.1f} hours old; at most {expect.max_age_hours:g} are expected.")


def _step(expect: Expectations, seen: Sequence[Seen], result: Judgement) -> None:
    if expect.min_step is None:
        return
    steps = {item.proof.path: item.proof.facts["step"] for item in seen if "step" in item.proof.facts}
    numbers = {path: step for path, step in steps.items() if isinstance(step, int) and _loads(seen, path)}
    if not numbers:
        result.unmet.append(f"No file that loads tells its step; at least {expect.min_step} is expected.")
        return
    path = max(numbers, key=lambda path: numbers[path])
    result.named.add(path)
    if numbers[path] < expect.min_step:
        result.unmet.append(f"The furthest step is {numbers[path]}, in {path}; {expect.min_step} is expected.")


def _loads(seen: Sequence[Seen], path: str) -> bool:
    return any(item.proof.path == path and item.proof.level >= VerificationLevel.LOADS for item in seen)


def _metrics(expect: Expectations, seen: Sequence[Seen], result: Judgement) -> None:
    bounds = dict.fromkeys(expect.finite_metrics, (None, None)) | expect.metric_bounds
    for key, (least, most) in bounds.items():
        found = [(item.proof.path, item.numbers[key]) for item in seen if key in item.numbers]
        if not found:
            result.unmet.append(f"No result or last metrics line holds {key!r}.")
        for path, value in found:
            result.named.add(path)
            if not math.isfinite(value):
                result.unmet.append(f"{key!r} is {value} in {path}.")
            elif (least is not None and value < least) or (most is not None and value > most):
                result.unmet.append(f"{key!r} is {value:g} in {path}, outside {least} to {most}.")


def _tensor_names(expect: Expectations, seen: Sequence[Seen], result: Judgement) -> None:
    weights = [item for item in seen if item.names and not item.part]
    if expect.keys:
        wanted = set(expect.keys)
        best = max(weights, key=lambda item: len(wanted.intersection(item.names)), default=None)
        absent = sorted(wanted.difference(best.names if best else ()))
        if best is not None:
            result.named.add(best.proof.path)
        if absent:
            where = best.proof.path if best else "any weight file"
            result.unmet.append(f"{len(absent)} expected tensors are not in {where}, first {absent[0]!r}.")
    if expect.same_names_as is not None:
        model = next((item for item in weights if item.proof.path == expect.same_names_as), None)
        if model is None:
            result.unmet.append(f"{expect.same_names_as!r}, whose tensor names are to be compared, did not load.")
            return
        for item in weights:
            if not holds_model(item.proof.path):
                continue
            result.named.add(item.proof.path)
            different = set(item.names) ^ set(model.names)
            if different:
                result.unmet.append(
                    f"{item.proof.path} differs from {expect.same_names_as} in {len(different)} tensor names, "
                    f"first {min(different)!r}."
                )


def raised(proof: FileProof, judgement: Judgement) -> FileProof:
    """The proof, at MEETS_EXPECTATIONS where the expectations spoke of the file and all of them hold."""
    clean = proof.level is VerificationLevel.LOADS and all(f.severity is not Severity.ERROR for f in proof.findings)
    if not clean or judgement.unmet or judgement.missing or proof.path not in judgement.named:
        return proof
    return proof.model_copy(update={"level": VerificationLevel.MEETS_EXPECTATIONS})
