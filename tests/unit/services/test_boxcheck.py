"""The boot check's line comes from a stranger: numbers in range get through, everything else is unknown."""

import json
from typing import Any

import pytest

from remote_gpu_trainer.rules.base import Severity
from remote_gpu_trainer.rules.registry import check
from remote_gpu_trainer.services.boxcheck import parse_report
from tests.unit.rules import samples

TOLD: dict[str, Any] = {
    "gpus": 1,
    "driver_cuda": 12.4,
    "framework_cuda": 12.8,
    "framework_sees_gpu": False,
    "free_bytes": 10**10,
    "free_inodes": 10**6,
    "memory_bytes": 64 << 30,
    "vram_used_bytes": 0,
}


def line(**changes: Any) -> bytes:
    return b"noise of a login\n" + json.dumps({**TOLD, **changes}).encode() + b"\n"


def test_a_report_becomes_the_facts_of_the_rules() -> None:
    report = parse_report(line())

    assert report is not None
    assert report.driver_cuda == 12.4
    facts = samples.start(box=report)
    blocking = {one.rule for one in check(facts.stage, facts) if one.severity is Severity.BLOCK}
    assert blocking == {"VAST5", "U28"}


@pytest.mark.parametrize(
    "value", ["12", None, True, -1, 1e300, [], {"a": 1}, float("nan"), float("inf")], ids=lambda value: repr(value)
)
@pytest.mark.parametrize("name", ["gpus", "driver_cuda", "free_bytes"])
def test_what_is_no_number_in_range_is_unknown(name: str, value: Any) -> None:
    report = parse_report(line(**{name: value}))

    assert report is not None
    assert getattr(report, name) is None


@pytest.mark.parametrize("value", ["yes", 1, 0, None])
def test_what_is_no_yes_or_no_is_unknown(value: Any) -> None:
    report = parse_report(line(framework_sees_gpu=value))

    assert report is not None
    assert report.framework_sees_gpu is None


@pytest.mark.parametrize("content", [b"", b"\n", b"[]", b"12", b"not json", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_report_is_none(content: bytes) -> None:
    assert parse_report(content) is None
