"""The job runner, as a real process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[3] / "scripts/run_job.py"


def ran(folder: Path, **job: object) -> dict[str, Any]:
    """Run `job` to its end in `folder`; the status that is left."""
    shutil.copy(SCRIPT, folder)
    (folder / "job.json").write_text(json.dumps({"version": 1, "job_id": "a", **job}))
    subprocess.run([sys.executable, str(folder / "run_job.py")], timeout=20, check=False)
    return json.loads((folder / "status.json").read_text())


def test_a_finished_job_is_not_started_again_but_a_new_one_is(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo $RGT_JOB_ID $RGT_STARTS"]
    for job_id in ("a", "a", "b"):
        status = ran(tmp_path, argv=argv, job_id=job_id)
    assert (status["state"], status["exit_code"], status["starts"]) == ("succeeded", 0, 1)
    assert (tmp_path / "job.log").read_text() == "a 1\nb 1\n"


def test_a_job_that_keeps_failing_is_given_up_as_crash_looping(tmp_path: Path) -> None:
    status = ran(tmp_path, argv=["sh", "-c", "exit 7"], restart_on_failure=True, max_restarts=1)
    assert (status["state"], status["exit_code"], status["starts"]) == ("crash-looping", 7, 2)


def test_a_malformed_job_is_a_failure_with_a_message(tmp_path: Path) -> None:
    status = ran(tmp_path, argv="echo")
    assert status["state"] == "failed" and "argv" in status["message"]
