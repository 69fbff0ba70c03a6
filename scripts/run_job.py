"""Run one job on the rented machine: restart-safe, with heartbeat, exit code and log rotation.

Standard library only, Python 3.8 or later. `run_job.py [run|status|stop]`; state lies beside this file.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, cast

HERE = Path(__file__).resolve().parent
HEARTBEAT_S = 1.0


class BadJobError(ValueError):
    """`job.json` is not a job that can be run."""


def now() -> str:
    """UTC, ISO 8601, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def load(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises OSError, ValueError."""
    value: object = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise BadJobError(f"{path.name} holds no JSON object")
    return cast("dict[str, Any]", value)


def read_job() -> dict[str, Any]:
    """Read and check `job.json`. Raises BadJobError, OSError, ValueError."""
    job = load(HERE / "job.json")
    argv = job.get("argv")
    if job.get("version") != 1 or not isinstance(job.get("job_id"), str) or not job["job_id"]:
        raise BadJobError("job.json: version must be 1 and job_id a non-empty string")
    if not isinstance(argv, list) or not argv or not all(isinstance(a, str) for a in cast("list[object]", argv)):
        raise BadJobError("job.json: argv must be a non-empty list of strings")
    env = job.setdefault("env", {})
    if not isinstance(env, dict) or not all(isinstance(v, str) for v in cast("dict[str, object]", env).values()):
        raise BadJobError("job.json: env must map names to strings")
    numbers = {"grace_s": 20, "log_max_bytes": 50_000_000, "log_keep": 3, "max_restarts": 3}
    for name, usual in numbers.items():
        value: object = job.setdefault(name, usual)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise BadJobError(f"job.json: {name} must be a number of at least 0")
    return job


class Status:
    """`status.json`, replaced atomically."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.data = first
        self._lock = threading.Lock()

    def write(self, **changes: object) -> None:
        """Apply `changes`, stamp the heartbeat and replace the file. Raises OSError."""
        with self._lock:
            self.data.update(changes)
            self.data["heartbeat_at"] = now()
            part = HERE / "status.json.part"
            with part.open("w", encoding="utf-8") as out:
                json.dump(self.data, out)
                out.flush()
                os.fsync(out.fileno())
            part.replace(HERE / "status.json")


def pump(source: IO[bytes], status: Status, limit: int, keep: int) -> None:
    """Copy the job's output into `job.log`, rotating at `limit` bytes (0: never)."""
    log = HERE / "job.log"
    out = log.open("ab")
    while chunk := os.read(source.fileno(), 65536):
        if limit and out.tell() and out.tell() + len(chunk) > limit:
            out.close()
            for n in range(keep, 0, -1):
                older = log if n == 1 else HERE / f"job.log.{n - 1}"
                if older.exists():
                    older.replace(HERE / f"job.log.{n}")
            out = log.open("wb")
        out.write(chunk)
        out.flush()
        status.data["last_line_at"] = now()
    out.close()


def signal_group(pid: int, number: int) -> None:
    """Signal the job's process group; one that is gone is no error."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def run_once(job: dict[str, Any], status: Status, stop: threading.Event) -> int:
    """Start the job once and wait for its end; returns Popen's return code. Raises OSError."""
    starts = int(status.data["starts"]) + 1
    env = {**os.environ, **job["env"], "RGT_JOB_ID": job["job_id"], "RGT_STARTS": str(starts)}
    if starts > 1:
        env["RGT_RESUME"] = "1"
    status.write(state="starting", starts=starts, started_at=now(), exit_code=None, signal=None, message=None)
    child = subprocess.Popen(
        job["argv"], cwd=job.get("cwd") or None, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    source = cast("IO[bytes]", child.stdout)
    sizes = (int(job["log_max_bytes"]), int(job["log_keep"]))
    reader = threading.Thread(target=pump, args=(source, status, *sizes), daemon=True)
    reader.start()
    status.write(state="running", pid=child.pid)
    deadline: float | None = None
    while True:
        try:
            code = child.wait(timeout=0.2 if stop.is_set() else HEARTBEAT_S)
            break
        except subprocess.TimeoutExpired:
            status.write()
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + float(job["grace_s"])
            signal_group(child.pid, signal.SIGTERM)
        elif deadline is not None and time.monotonic() >= deadline:
            signal_group(child.pid, signal.SIGKILL)
    if stop.is_set():
        signal_group(child.pid, signal.SIGKILL)
    reader.join(timeout=2)
    return code


def previous(job_id: str) -> dict[str, Any]:
    """What is known of earlier starts of this job; a torn or foreign status counts as none."""
    try:
        old = load(HERE / "status.json")
    except (OSError, ValueError):
        old = {}
    fresh: dict[str, Any] = {
        "version": 1,
        "job_id": job_id,
        "state": "starting",
        "pid": None,
        "starts": 0,
        "failures": 0,
    }
    return old if old.get("job_id") == job_id and isinstance(old.get("starts"), int) else fresh


def run() -> int:
    """Run the job to its end; 0 also when another runner works or nothing is left to do."""
    lock = (HERE / "runner.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    stop = threading.Event()

    def on_term(_number: int, _frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_term)
    try:
        job = read_job()
    except (OSError, ValueError) as bad:
        Status({**previous(""), "job_id": None}).write(state="failed", message=f"{bad}. Nothing was started.")
        return 1
    status = Status(previous(job["job_id"]))
    if status.data["state"] in ("succeeded", "failed", "crash-looping", "stopped"):
        return 0
    while True:
        try:
            code = run_once(job, status, stop)
        except OSError as bad:
            status.write(state="failed", message=f"the job could not be started: {bad}")
            return 1
        ended: dict[str, Any] = {"exit_code": code if code >= 0 else None, "signal": -code if code < 0 else None}
        if stop.is_set() or code == 0:
            status.write(state="stopped" if stop.is_set() else "succeeded", pid=None, **ended)
            return 0
        failures = int(status.data.get("failures", 0)) + 1
        again = job.get("restart_on_failure") is True
        if not again or failures > job["max_restarts"]:
            status.write(state="crash-looping" if again else "failed", pid=None, failures=failures, **ended)
            return 1
        status.write(state="starting", pid=None, failures=failures, **ended)
        end = time.monotonic() + min(60.0, 2.0 ** (failures - 1))
        while time.monotonic() < end and not stop.wait(0.5):
            status.write()
        if stop.is_set():
            status.write(state="stopped")
            return 0


def stop_runner() -> int:
    """Ask the runner that holds the lock to stop its job; 1 when none runs."""
    with (HERE / "runner.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            os.kill(int(lock.read()), signal.SIGTERM)
            return 0
    print("no runner is at work: nothing was stopped", file=sys.stderr)
    return 1


def main() -> int:
    """Dispatch the sub-command."""
    command = sys.argv[1] if len(sys.argv) > 1 else "run"
    if command == "run":
        return run()
    if command == "stop":
        return stop_runner()
    if command == "status":
        print((HERE / "status.json").read_text(encoding="utf-8"))
        return 0
    print("usage: run_job.py [run|status|stop]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
