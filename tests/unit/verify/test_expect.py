"""Expectations at their edges, against files that are described and not read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, Expectations, FileProof, Severity, VerificationLevel
from remote_gpu_trainer.verify.expect import Judgement, grant, judge
from remote_gpu_trainer.verify.roll import Roll, Seen

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LOADS, DIGEST = VerificationLevel.LOADS, VerificationLevel.DIGEST


def seen(
    path: str,
    *names: str,
    level: VerificationLevel = LOADS,
    age: timedelta = timedelta(),
    numbers: dict[str, float] | None = None,
    facts: dict[str, Any] | None = None,
    findings: tuple[ArtifactFinding, ...] = (),
) -> Seen:
    """A file as its loader told of it."""
    moment = int((NOW - age).timestamp() * 1e9)
    proof = FileProof(
        path=path, size=1, sha256="0" * 64, level=level, format=None, mtime_ns=moment, facts=facts or {},
        findings=findings,
    )  # fmt: skip
    return Seen(proof, names, numbers or {}, kind="pytorch")


def roll_of(*files: Seen) -> Roll:
    roll = Roll(len(files))
    for number, file in enumerate(files):
        roll.put(number, file)
    roll.arrange()
    return roll


def holds(expect: Expectations, *files: Seen) -> bool:
    result = judge(expect, roll_of(*files), NOW)
    return not result.unmet and not result.missing


@pytest.mark.parametrize(("step", "level", "good"), [(9, LOADS, False), (10, LOADS, True), (10, DIGEST, False)])
def test_the_least_step_counts_only_in_a_file_that_loads(step: int, level: VerificationLevel, good: bool) -> None:
    assert holds(Expectations(min_step=10), seen("a.pt", facts={"step": step}, level=level)) is good


def test_the_furthest_of_several_steps_counts_and_a_step_that_is_no_whole_number_does_not() -> None:
    files = [seen("a", facts={"step": 3}), seen("b", facts={"step": 10}), seen("c", facts={"step": "99"})]
    assert holds(Expectations(min_step=10), *files)
    assert not holds(Expectations(min_step=11), *files)
    assert not holds(Expectations(min_step=0), seen("c", facts={"step": "99"})), "nothing tells a step"


@pytest.mark.parametrize(
    ("value", "bounds", "good"),
    [
        (0.5, (0.5, 0.5), True),
        (0.5, (0.5, None), True),
        (0.5, (None, 0.5), True),
        (0.5, (0.5000001, None), False),
        (0.5, (None, 0.4999999), False),
        (0.5, (1.0, 0.0), False),
        (float("nan"), (None, None), False),
        (float("inf"), (0.0, None), False),
        (float("-inf"), (None, 0.0), False),
        (-0.0, (0.0, 0.0), True),
    ],
)
def test_bounds_of_a_metric_are_included_and_what_is_not_finite_is_within_none(
    value: float, bounds: tuple[float | None, float | None], good: bool
) -> None:
    assert holds(Expectations(metric_bounds={"loss": bounds}), seen("m.jsonl", numbers={"loss": value})) is good


def test_a_metric_must_hold_in_each_file_that_tells_it() -> None:
    expect = Expectations(finite_metrics=("loss",), metric_bounds={"loss": (0, 1)})
    assert not holds(expect, seen("a", numbers={"loss": 0.5}), seen("b", numbers={"loss": 2}))
    assert not holds(expect, seen("a", numbers={"other": 0.5}))


@pytest.mark.parametrize(("hours", "good"), [(0.99, True), (1.0, True), (1.01, False)])
def test_the_largest_age_is_that_of_the_youngest_file_that_is_spoken_of(hours: float, good: bool) -> None:
    expect = Expectations(files=("*.pt",), max_age_hours=1.0)
    old, other = seen("old.pt", age=timedelta(days=9)), seen("new.txt")
    assert holds(expect, seen("a.pt", age=timedelta(hours=hours)), old, other) is good


@pytest.mark.parametrize(("count", "good"), [(0, False), (1, False), (2, True), (3, False)])
def test_a_count_is_exact_and_may_be_none(count: int, good: bool) -> None:
    files = [seen("a/step-1.pt"), seen("b/step-2.pt"), seen("step-3.bin")]
    assert holds(Expectations(counts={"**/step-*.pt": count}), *files) is good
    assert holds(Expectations(counts={"*.tmp": 0}), *files)


def test_an_exact_roster_knows_names_with_brackets_and_refuses_one_file_more() -> None:
    expect = Expectations(files=("a[1].pt", "*.json"), exact_roster=True)
    assert holds(expect, seen("a[1].pt"), seen("deep/r.json"))
    assert not holds(expect, seen("a[1].pt"), seen("deep/r.json"), seen("a1.pt.bak"))
    assert judge(expect, roll_of(seen("deep/r.json")), NOW).missing == ["a[1].pt"]


def test_keys_must_all_be_in_one_file_and_names_are_compared_with_every_other_model() -> None:
    files = [seen("a.pt", "x", "y"), seen("b.pt", "z")]
    assert holds(Expectations(keys=("x", "y")), *files)
    assert not holds(Expectations(keys=("x", "z")), *files)
    assert not holds(Expectations(same_names_as="a.pt"), *files)
    assert holds(Expectations(same_names_as="a.pt"), files[0], seen("c.pt", "y", "x"), seen("optimizer.pt", "state.0"))
    assert not holds(Expectations(same_names_as="gone.pt"), *files)


@pytest.mark.parametrize(("level", "good"), [(DIGEST, False), (LOADS, True)])
def test_the_least_level_is_of_each_file_that_is_named(level: VerificationLevel, good: bool) -> None:
    for least in (LOADS, VerificationLevel.MEETS_EXPECTATIONS):
        expect = Expectations(files=("*.pt",), min_level=least)
        assert holds(expect, seen("a.pt", level=level), seen("notes.txt", level=DIGEST)) is good
    assert not holds(Expectations(min_level=LOADS), seen("a.pt"), seen("notes.txt", level=DIGEST)), "no file is named"


@pytest.mark.parametrize(
    ("judgement", "raised"),
    [
        (Judgement(named=bytearray([1, 0, 1, 1])), ["a"]),
        (Judgement(named=bytearray([0, 0, 0, 0])), []),
        (Judgement(named=bytearray([1, 1, 1, 1]), unmet=["x"]), []),
        (Judgement(named=bytearray([1, 1, 1, 1]), missing=["x"]), []),
    ],
)
def test_only_a_clean_file_that_was_spoken_of_is_raised_and_only_when_all_holds(
    judgement: Judgement, raised: list[str]
) -> None:
    error = ArtifactFinding(code="nan", severity=Severity.ERROR, message="x")
    roll = roll_of(seen("a"), seen("b"), seen("broken", findings=(error,)), seen("low", level=DIGEST))
    grant(judgement, roll)
    assert [one.path for one in roll.proofs if one.level is VerificationLevel.MEETS_EXPECTATIONS] == raised
