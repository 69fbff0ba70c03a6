"""Expectations against what the files turned out to hold. Pure: everything was read before."""

import math
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from remote_gpu_trainer.domain.artifacts import Expectations, VerificationLevel
from remote_gpu_trainer.verify.layout import holds_model
from remote_gpu_trainer.verify.roll import Roll

MOST_SAID = 100
"""Files that are named for one and the same shortcoming; of a million the sentences would be a book."""


@dataclass
class Judgement:
    """What does not hold, what is absent, and which files the expectations spoke of."""

    unmet: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    named: bytearray = field(default_factory=bytearray)
    """By the place of a file: 1 where they spoke of it."""


def judge(expect: Expectations, roll: Roll, now: datetime) -> Judgement:
    """Hold the expectations against the files."""
    result = Judgement(named=bytearray(len(roll)))
    _roster(expect, roll, result)
    whole = not any(result.named)
    _levels(expect, roll, result, whole=whole)
    _age(expect, roll, now, result, whole=whole)
    _step(expect, roll, result)
    _metrics(expect, roll, result)
    _tensor_names(expect, roll, result)
    return result


def _roster(expect: Expectations, roll: Roll, result: Judgement) -> None:
    for pattern in expect.files:
        if not _name(pattern, roll, result):
            result.missing.append(pattern)
    for pattern, count in expect.counts.items():
        matched = _name(pattern, roll, result)
        if matched != count:
            result.unmet.append(f"{matched} files match {pattern!r} where {count} are expected.")
    if expect.min_count is not None and len(roll) < expect.min_count:
        result.unmet.append(f"{len(roll)} files are there and at least {expect.min_count} are expected.")
    extra = result.named.count(0)
    if expect.exact_roster and extra:
        first = roll.path(result.named.index(0))
        result.unmet.append(f"{extra} files are there that nothing expects, first {first!r}.")


def _name(pattern: str, roll: Roll, result: Judgement) -> int:
    """Mark the files that a pattern matches; how many they are."""
    count = 0
    for at in range(len(roll)):
        if matches(roll.path(at), pattern):
            result.named[at] = 1
            count += 1
    return count


def matches(path: str, pattern: str) -> bool:
    """A literal name, or a glob whose ``*`` crosses folders and whose leading ``**/`` may stand for none."""
    return path == pattern or any(fnmatchcase(path, one) for one in {pattern, pattern.removeprefix("**/")})


def _levels(expect: Expectations, roll: Roll, result: Judgement, *, whole: bool) -> None:
    # MEETS_EXPECTATIONS is what this judgement grants, so the most that a file can bring to it is LOADS.
    least, below = min(expect.min_level, VerificationLevel.LOADS), 0
    for at in range(len(roll)):
        if (whole or result.named[at]) and (level := roll.proofs.level(at)) < least:
            below += 1
            if below <= MOST_SAID:
                result.unmet.append(f"{roll.path(at)} reached {level.name} and {expect.min_level.name} is expected.")
    if below > MOST_SAID:
        result.unmet.append(f"{below - MOST_SAID:,} more files reached less than {expect.min_level.name}.")


def _age(expect: Expectations, roll: Roll, now: datetime, result: Judgement, *, whole: bool) -> None:
    if expect.max_age_hours is None:
        return
    times = (roll.proofs.mtime_ns(at) for at in range(len(roll)) if whole or result.named[at])
    newest = max(times, default=None)
    hours = math.inf if newest is None else (now.timestamp() - newest / 1e9) / 3600
    if hours > expect.max_age_hours:
        result.unmet.append(f"The newest file is {hours:.1f} hours old; at most {expect.max_age_hours:g} are expected.")


def _step(expect: Expectations, roll: Roll, result: Judgement) -> None:
    if expect.min_step is None:
        return
    furthest: int = 0
    place: int | None = None
    for at, item in roll.asked():
        step = item.proof.facts.get("step")
        if isinstance(step, int) and item.proof.level >= VerificationLevel.LOADS:
            furthest, place = (step, at) if place is None or step > furthest else (furthest, place)
    if place is None:
        result.unmet.append(f"No file that loads tells its step; at least {expect.min_step} is expected.")
        return
    result.named[place] = 1
    if furthest < expect.min_step:
        result.unmet.append(f"The furthest step is {furthest}, in {roll.path(place)}; {expect.min_step} is expected.")


def _metrics(expect: Expectations, roll: Roll, result: Judgement) -> None:
    bounds = dict.fromkeys(expect.finite_metrics, (None, None)) | expect.metric_bounds
    if not bounds:
        return
    found = set[str]()
    for at, item in roll.asked():
        for key in bounds.keys() & item.numbers.keys():
            found.add(key)
            result.named[at] = 1
            value, (least, most) = item.numbers[key], bounds[key]
            if not math.isfinite(value):
                result.unmet.append(f"{key!r} is {value} in {item.proof.path}.")
            elif (least is not None and value < least) or (most is not None and value > most):
                result.unmet.append(f"{key!r} is {value:g} in {item.proof.path}, outside {least} to {most}.")
    result.unmet.extend(f"No result or last metrics line holds {key!r}." for key in bounds if key not in found)


def _tensor_names(expect: Expectations, roll: Roll, result: Judgement) -> None:
    if not expect.keys and expect.same_names_as is None:
        return
    weights = [(at, item) for at, item in roll.asked() if item.names and not item.part]
    if expect.keys:
        wanted = set(expect.keys)
        place, best = max(weights, key=lambda one: len(wanted.intersection(one[1].names)), default=(None, None))
        absent = sorted(wanted.difference(best.names if best else ()))
        if place is not None:
            result.named[place] = 1
        if absent:
            where = best.proof.path if best else "any weight file"
            result.unmet.append(f"{len(absent)} expected tensors are not in {where}, first {absent[0]!r}.")
    if expect.same_names_as is not None:
        model = next((item for _, item in weights if item.proof.path == expect.same_names_as), None)
        if model is None:
            result.unmet.append(f"{expect.same_names_as!r}, whose tensor names are to be compared, did not load.")
            return
        for at, item in weights:
            if not holds_model(item.proof.path):
                continue
            result.named[at] = 1
            different = set(item.names) ^ set(model.names)
            if different:
                result.unmet.append(
                    f"{item.proof.path} differs from {expect.same_names_as} in {len(different)} tensor names, "
                    f"first {min(different)!r}."
                )


def grant(judgement: Judgement, roll: Roll) -> None:
    """If all hold, raise each file to MEETS_EXPECTATIONS that loads without fault and that they spoke of."""
    if judgement.unmet or judgement.missing:
        return
    for at, named in enumerate(judgement.named):
        if named and roll.proofs.level(at) is VerificationLevel.LOADS and not roll.proofs.is_broken(at):
            roll.proofs.raise_to(at, VerificationLevel.MEETS_EXPECTATIONS)
