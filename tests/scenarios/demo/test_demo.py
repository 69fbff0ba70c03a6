"""The demo as a newcomer runs it: separate processes, and a report that says what happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from remote_gpu_trainer.demo.report import Report
from tests.tools.test_tool_list import NAMES

pytestmark = pytest.mark.timeout(240)
TOOLS = NAMES - {"stop_instance"}


def test_the_whole_road_holds_and_its_report_says_how(tmp_path: Path) -> None:
    file = tmp_path / "report.json"

    ended = subprocess.run(
        [sys.executable, "-m", "remote_gpu_trainer", "demo", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    report = Report.model_validate(json.loads(file.read_text()))
    assert report.failures == []
    assert {step.tool for step in report.steps} == TOOLS
    assert report.preemptions == 1
    assert report.resumed_from_step is not None and report.final_step is not None
    assert 0 < report.resumed_from_step < report.final_step
    assert report.test_accuracy is not None and report.test_accuracy > 0.9
    assert report.files_verified >= 3
    assert report.lowest_level == "MEETS_EXPECTATIONS"
    assert [one.code for one in report.refusals] == ["consent_required", "token_rejected", "plan_changed"]
    assert all(one.instance_still_there for one in report.refusals)
    assert report.destroyed
    assert report.meter_usd_per_hour_after == 0
    assert report.cost_usd is not None and report.cost_usd > 0
    assert "stand-in" in ended.stdout


def test_what_did_not_happen_is_a_failure_by_name() -> None:
    report = Report()

    report.judge()

    assert "the machine was not preempted" in report.failures
    assert "the instance was not destroyed after consent" in report.failures
    assert len(report.failures) == 10


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")

    ended = subprocess.run(
        [sys.executable, "-m", "remote_gpu_trainer", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert ended.returncode == 2
    assert "is not empty" in ended.stderr
    assert "Nothing was started" in ended.stderr
    assert (tmp_path / "mine").read_text() == "keep"
