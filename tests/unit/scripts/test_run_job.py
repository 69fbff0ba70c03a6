"""The job runner, as a real process."""

import ast
import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.services.jobs import BOX_SCRIPTS

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


class Runner:
    """A runner as a process of its own, in a folder with a job."""

    def __init__(self, folder: Path, **job: object) -> None:
        self.folder = folder
        shutil.copy(SCRIPT, folder)
        (folder / "job.json").write_text(json.dumps({"version": 1, "job_id": "a", "grace_s": 2, **job}))
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(self.folder / "run_job.py")], start_new_session=True)

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status that fits, within half a minute."""
        seen: dict[str, Any] = {}
        ticks = threading.Event()
        for _ in range(600):
            with contextlib.suppress(OSError, ValueError):
                seen = json.loads((self.folder / "status.json").read_text())
                if holds(seen):
                    return seen
            ticks.wait(0.05)
        raise AssertionError(f"never came: {seen}")

    def say(self, command: str) -> int:
        return subprocess.run([sys.executable, str(self.folder / "run_job.py"), command], timeout=30).returncode


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


WAITS = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"]


def test_a_job_whose_runner_was_killed_is_ended_before_it_is_started_again(tmp_path: Path) -> None:
    runner = Runner(tmp_path, argv=["sleep", "300"])
    first = runner.until(lambda status: status["state"] == "running")
    runner.process.kill()
    runner.process.wait(10)
    assert alive(first["pid"]), "the job outlives its runner, which is what the test is about"

    runner.process = runner.start()
    second = runner.until(lambda status: status["state"] == "running" and status["starts"] == 2)

    assert not alive(first["pid"])
    assert alive(second["pid"])
    assert runner.say("stop") == 0
    assert runner.process.wait(20) == 0


def test_a_stopped_job_stays_stopped_at_the_next_boot(tmp_path: Path) -> None:
    runner = Runner(tmp_path, argv=["sleep", "300"])
    runner.until(lambda status: status["state"] == "running")
    assert runner.say("stop") == 0
    assert runner.process.wait(20) == 0

    assert runner.start().wait(20) == 0

    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["starts"]) == ("stopped", 1)


def test_a_machine_that_ends_the_runner_leaves_a_job_that_starts_again(tmp_path: Path) -> None:
    runner = Runner(tmp_path, argv=["sleep", "300"])
    runner.until(lambda status: status["state"] == "running")
    runner.process.terminate()
    assert runner.process.wait(20) == 0
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "starting"

    runner.process = runner.start()
    runner.until(lambda status: status["state"] == "running" and status["starts"] == 2)
    runner.say("stop")
    runner.process.wait(20)


def test_a_job_that_ignores_the_request_to_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    runner = Runner(tmp_path, argv=WAITS, grace_s=0.5)
    pid = runner.until(lambda status: status["state"] == "running")["pid"]

    assert runner.say("stop") == 0

    assert runner.process.wait(20) == 0
    assert not alive(pid)


def test_a_second_runner_leaves_the_first_alone(tmp_path: Path) -> None:
    runner = Runner(tmp_path, argv=["sleep", "300"])
    pid = runner.until(lambda status: status["state"] == "running")["pid"]

    assert runner.start().wait(20) == 0

    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["pid"], status["starts"]) == (pid, 1)
    runner.say("stop")
    runner.process.wait(20)


def test_the_heart_beats_while_the_job_says_nothing(tmp_path: Path) -> None:
    runner = Runner(tmp_path, argv=["sleep", "300"])
    first = runner.until(lambda status: status["state"] == "running")["heartbeat_at"]

    assert runner.until(lambda status: status["heartbeat_at"] != first)["state"] == "running"
    runner.say("stop")
    runner.process.wait(20)


def test_the_log_is_rotated_and_only_so_many_parts_are_kept(tmp_path: Path) -> None:
    writes = "import sys\nfor n in range(4000): sys.stdout.write(f'{n:04} ' * 64 + chr(10)); sys.stdout.flush()"

    ran(tmp_path, argv=[sys.executable, "-c", writes], log_max_bytes=20_000, log_keep=2)

    parts = sorted(path.name for path in tmp_path.glob("job.log*"))
    assert parts == ["job.log", "job.log.1", "job.log.2"]
    assert "3999" in (tmp_path / "job.log").read_text()
    assert all((tmp_path / part).stat().st_size <= 20_000 + 65_536 for part in parts)


def test_the_boot_script_may_run_twice_and_says_when_there_is_no_job(tmp_path: Path) -> None:
    shutil.copy(SCRIPT.with_name("boot.sh"), tmp_path)
    script = ["sh", str(tmp_path / "boot.sh")]
    assert b"none" in subprocess.run(script, capture_output=True, timeout=20).stdout
    runner = Runner(tmp_path, argv=["sleep", "300"])
    pid = runner.until(lambda status: status["state"] == "running")["pid"]

    for _ in range(2):
        assert subprocess.run(script, capture_output=True, timeout=20).returncode == 0

    assert json.loads((tmp_path / "status.json").read_text())["pid"] == pid
    runner.say("stop")
    runner.process.wait(20)


@pytest.mark.parametrize("name", [name for name in BOX_SCRIPTS if name.endswith(".py")])
def test_what_runs_on_the_machine_needs_the_standard_library_only(name: str) -> None:
    tree = ast.parse(SCRIPT.with_name(name).read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.split(".")[0] for name in names}
    assert imported - {Path(script).stem for script in BOX_SCRIPTS} <= set(sys.stdlib_module_names)


def test_the_boot_hook_fits_into_the_platforms_smaller_limit_and_is_valid_shell() -> None:
    hook = SCRIPT.with_name("onstart.sh")
    assert len(hook.read_text(encoding="utf-8")) < 4096
    for shell, file in (("bash", "onstart.sh"), ("sh", "boot.sh")):
        assert subprocess.run([shell, "-n", str(SCRIPT.with_name(file))], timeout=20).returncode == 0


def test_a_stop_that_waits_returns_after_the_end_and_fails_when_there_is_none(tmp_path: Path) -> None:
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
    runner = Runner(tmp_path, argv=stubborn, grace_s=3)
    runner.until(lambda status: status["state"] == "running")
    stop = [sys.executable, str(tmp_path / "run_job.py"), "stop"]

    early = subprocess.run([*stop, "1"], timeout=30, capture_output=True, text=True)
    assert (early.returncode, "still runs after 1 s" in early.stderr) == (1, True)

    assert subprocess.run([*stop, "30"], timeout=40).returncode == 0
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "stopped"
    runner.process.wait(timeout=20)
