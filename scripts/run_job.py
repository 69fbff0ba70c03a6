"""Run one job on the rented machine: through reboots, with heartbeat, exit code and log rotation.

    run_job.py [run|status|stop [SECONDS]]

`stop` asks the job to end and returns; with SECONDS it waits that long for the end, and fails when the job goes on.
Standard library only, Python 3.8 or later. State lies beside this file. Two locks: a runner holds `runner.lock`; the
job and what it starts inherit `job.lock`, so that a job whose runner died is seen, and ended, before another starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, cast

try:
    from job_watch import observed
except ImportError:

    def observed(job: dict[str, Any]) -> dict[str, object]:
        """Nothing: jobs run without that file too."""
        return {}


HERE = Path(__file__).resolve().parent
LOG, REQUEST, RESERVE = HERE / "job.log", HERE / "stop.request", HERE / "status.reserve"
MARK = b"RGT_STATE_DIR=" + os.fsencode(HERE)
ENDED = ("succeeded", "failed", "crash-looping", "stopped")
HEARTBEAT_S, TICK_S, UNKILLABLE_S, SETTLE_S = 1.0, 0.2, 10.0, 600.0
PAUSES_S = (1, 2, 4, 8, 16, 32, 60)


def utc(seconds: float | None = None) -> str:
    """A time, now by default, in ISO 8601 and whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def load(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises OSError, ValueError."""
    value: object = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return cast("dict[str, Any]", value)


def strings(value: Any) -> bool:
    """Whether it is a list or an object of strings."""
    values: Any = list(cast("dict[Any, Any]", value).values()) if isinstance(value, dict) else value
    return isinstance(values, list) and all(isinstance(each, str) for each in cast("list[Any]", values))


def read_job() -> dict[str, Any]:
    """Read and check `job.json`. Raises OSError, ValueError."""
    usual: dict[str, Any] = {"env": {}, "cwd": None, "checkpoint_globs": [], "progress_file": None}
    numbers = {"grace_s": 20, "log_max_bytes": 50_000_000, "log_keep": 3, "max_restarts": 3}
    job: dict[str, Any] = {**usual, **numbers, **load(HERE / "job.json")}
    checks = {
        "version must be 1": job.get("version") == 1,
        "job_id must be a non-empty string": isinstance(job.get("job_id"), str) and job["job_id"],
        "argv must be a non-empty list of strings": strings(job.get("argv")) and job["argv"],
        "env must map names to strings": isinstance(job["env"], dict) and strings(job["env"]),
        "checkpoint_globs must be a list of strings": strings(job["checkpoint_globs"]),
        "cwd must be a string": isinstance(job["cwd"], (str, type(None))),
        "progress_file must be a string": isinstance(job["progress_file"], (str, type(None))),
    }
    for name in numbers:
        number = isinstance(job[name], (int, float)) and not isinstance(job[name], bool) and 0 <= job[name] <= 1e15
        checks[f"{name} must be a number of at least 0"] = number
    for sentence, holds in checks.items():
        if not holds:
            raise ValueError(f"job.json: {sentence}")
    return job


class Log:
    """`job.log` and its older parts. A disk that is full costs lines, never the job: what is lost is counted."""

    def __init__(self, limit: int, keep: int) -> None:
        self.last_line_at: str | None = None
        self.dropped = 0
        self._limit, self._keep = limit, min(keep, 1000)
        self._lock = threading.Lock()

    def write(self, chunk: bytes) -> None:
        """Append; rotate first when `limit` bytes (0: never) would be exceeded."""
        with self._lock:
            self.last_line_at = utc()
            with contextlib.suppress(OSError):
                size = LOG.stat().st_size
                if size and 0 < self._limit < size + len(chunk):
                    self._rotate()
            with contextlib.suppress(OSError), LOG.open("ab", buffering=0) as out:
                while chunk:
                    chunk = chunk[out.write(chunk) :]
            self.dropped += len(chunk)

    def pump(self, source: IO[bytes]) -> None:
        """Carry a job's output into the log until its last writer is gone."""
        while chunk := os.read(source.fileno(), 65536):
            self.write(chunk)

    def _rotate(self) -> None:
        if self._keep:
            for n in range(self._keep, 0, -1):
                older = LOG if n == 1 else HERE / f"job.log.{n - 1}"
                if older.exists():
                    older.replace(HERE / f"job.log.{n}")
            return
        part = HERE / "job.log.part"  # nothing older is kept: the newest half stays, so that a reader finds the end
        with LOG.open("rb") as full, part.open("wb") as half:
            full.seek(-min(full.seek(0, os.SEEK_END), self._limit // 2), os.SEEK_END)
            shutil.copyfileobj(full, half)
        part.replace(LOG)


class Status:
    """`status.json`, replaced atomically."""

    def __init__(self, first: dict[str, Any], log: Log | None = None) -> None:
        self.data = first
        self._log = log
        self._beaten = 0.0

    def write(self, **changes: object) -> bool:
        """Apply `changes`, stamp the heartbeat and replace the file; False when the disk does not take it."""
        self.data.update(changes, heartbeat_at=utc())
        if self._log is not None and self._log.last_line_at:
            self.data.update(last_line_at=self._log.last_line_at, log_dropped_bytes=self._log.dropped)
        self._beaten = time.monotonic()
        with contextlib.suppress(OSError):
            part = HERE / "status.json.part"
            with part.open("w", encoding="utf-8") as out:
                json.dump(self.data, out)
                out.flush()
                os.fsync(out.fileno())
            part.replace(HERE / "status.json")
            return True
        return False

    def beat(self, job: dict[str, Any] | None = None) -> None:
        """Write again when a heartbeat is due, with what the files of a running `job` show."""
        if time.monotonic() - self._beaten >= HEARTBEAT_S:
            self.write(**(observed(job) if job else {}))

    def settle(self, **changes: object) -> None:
        """Write what decides whether the job runs again: use up the reserve, and try on while the disk is full."""
        end = time.monotonic() + SETTLE_S
        while not self.write(**changes) and time.monotonic() < end:
            with contextlib.suppress(OSError):
                RESERVE.unlink()
            time.sleep(TICK_S)


class Halt:
    """Whether the job shall end: asked by `stop`, for good, or by a SIGTERM alone, until the next boot."""

    def __init__(self, job_id: str, signalled: threading.Event) -> None:
        self._job_id, self._signalled = job_id, signalled

    def asked(self) -> bool:
        """Whether `stop` was called for this job. An empty request (the disk was full) is for any job."""
        with contextlib.suppress(OSError, ValueError):
            return REQUEST.read_text(encoding="utf-8") in ("", self._job_id)
        return False

    def __bool__(self) -> bool:
        return self._signalled.is_set() or self.asked()


def leftovers() -> list[int]:
    """Processes of earlier starts: they hold `job.lock` open, or have our mark in their environment."""
    lock = os.stat(HERE / "job.lock")
    found: list[int] = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if MARK in Path("/proc", pid, "environ").read_bytes().split(b"\0"):
                found.append(int(pid))
                continue
            for fd in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.path.samestat(fd.stat(), lock):
                        found.append(int(pid))
                        break
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Signal the groups of processes; one that is gone is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), number)


def claim(status: Status, grace_s: float) -> int:
    """Lock `job.lock` for one start, after ending what earlier starts left. Raises TimeoutError, OSError."""
    lock = os.open(HERE / "job.lock", os.O_RDWR | os.O_CREAT, 0o600)
    begun, sent = time.monotonic(), 0
    while True:
        alive = leftovers()
        if not alive:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
        waited = time.monotonic() - begun
        if waited > grace_s + UNKILLABLE_S:
            os.close(lock)
            raise TimeoutError(f"an earlier start still runs (processes {alive[:9]}) and could not be ended")
        number = signal.SIGKILL if waited >= grace_s else signal.SIGTERM
        if number != sent or number == signal.SIGKILL:
            signal_all(alive, number)
        sent = number
        status.beat()
        time.sleep(TICK_S / 4)


def start(job: dict[str, Any], status: Status) -> subprocess.Popen[bytes]:
    """Start the job once. Raises OSError or ValueError when that is impossible."""
    lock = claim(status, float(job["grace_s"]))
    starts = int(status.data["starts"]) + 1
    own = {"RGT_JOB_ID": job["job_id"], "RGT_STARTS": str(starts), "RGT_STATE_DIR": str(HERE)}
    env = {**os.environ, **job["env"], **own, **({"RGT_RESUME": "1"} if starts > 1 else {})}
    with contextlib.suppress(OSError):  # without a reserve the last word may have to wait for room
        RESERVE.write_bytes(bytes(16384))
    status.data.update(exit_code=None, signal=None, message=None, retry_at=None)
    status.write(state="starting", starts=starts, started_at=utc())
    try:
        return subprocess.Popen(
            job["argv"], cwd=job["cwd"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lock,),
        )  # fmt: skip
    finally:
        os.close(lock)


def run_once(job: dict[str, Any], status: Status, log: Log, halt: Halt) -> tuple[int, bool]:
    """Start the job and wait for its end: Popen's return code, and whether we ended it. Raises OSError, ValueError."""
    child = start(job, status)
    reader = threading.Thread(target=log.pump, args=(child.stdout,), daemon=True)
    reader.start()
    status.write(state="running", pid=child.pid)
    kill_at: float | None = None
    while True:
        try:
            code = child.wait(timeout=TICK_S)
            break
        except subprocess.TimeoutExpired:
            status.beat(job)
        if kill_at is None and halt:
            kill_at = time.monotonic() + float(job["grace_s"])
            signal_all([child.pid], signal.SIGTERM)
        elif kill_at is not None and time.monotonic() >= kill_at:
            signal_all([child.pid, *leftovers()], signal.SIGKILL)
    if kill_at is not None:
        signal_all(leftovers(), signal.SIGKILL)
    reader.join(timeout=2)
    status.data.update(observed(job))
    return code, kill_at is not None


def previous(job_id: str) -> dict[str, Any]:
    """What is known of earlier starts of this job; a torn or foreign status counts as none."""
    fresh: dict[str, Any] = {"version": 1, "job_id": job_id, "state": "starting", "pid": None, "retry_at": None}
    counts: dict[str, Any] = {"starts": 0, "failures": 0}
    old: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        old = load(HERE / "status.json")
    if old.get("job_id") != job_id:
        return {**fresh, **counts}
    known = {name: old[name] for name in counts if type(old.get(name)) is int}
    return {**fresh, **old, **counts, **known}


def back_off(status: Status, halt: Halt) -> None:
    """Wait before another try; a runner that comes after one that died meanwhile waits anew."""
    end = time.monotonic() + PAUSES_S[min(int(status.data["failures"]), len(PAUSES_S)) - 1]
    while time.monotonic() < end and not halt:
        status.beat()
        time.sleep(TICK_S)


def halted(status: Status, halt: Halt, ended: dict[str, Any]) -> int:
    """Record why the job was ended before its time; always 0."""
    if halt.asked():
        status.settle(state="stopped", pid=None, retry_at=None, **ended)
        with contextlib.suppress(OSError):
            REQUEST.unlink()
    else:
        message = "the machine ended the runner: the job starts again at the next boot"
        status.settle(state="starting", pid=None, message=message)
    return 0


def work(signalled: threading.Event) -> int:
    """Run the job of `job.json` to its end; 0 also when nothing is left to do. The caller holds the lock."""
    try:
        job = read_job()
    except (OSError, ValueError) as bad:
        Status({**previous(""), "job_id": None}).settle(state="failed", message=f"{bad}. Nothing was started.")
        return 1
    log = Log(int(job["log_max_bytes"]), int(job["log_keep"]))
    status, halt = Status(previous(job["job_id"]), log), Halt(job["job_id"], signalled)
    while status.data["state"] not in ENDED:
        if status.data["retry_at"]:
            back_off(status, halt)
        if halt:
            return halted(status, halt, {})
        try:
            code, cut = run_once(job, status, log, halt)
        except TimeoutError as bad:
            status.settle(message=f"{bad}. The job was not started.")
            return 1
        except (OSError, ValueError) as bad:
            status.settle(state="failed", pid=None, message=f"the job could not be started: {bad}")
            return 1
        ended: dict[str, Any] = {"exit_code": code if code >= 0 else None, "signal": -code if code < 0 else None}
        if cut:
            return halted(status, halt, ended)
        failures, again = int(status.data["failures"]) + (code != 0), job.get("restart_on_failure") is True
        state, retry_at = "succeeded" if code == 0 else "crash-looping" if again else "failed", None
        if code and again and failures <= job["max_restarts"]:
            state, retry_at = "starting", utc(time.time() + PAUSES_S[min(failures, len(PAUSES_S)) - 1])
        status.settle(state=state, pid=None, failures=failures, retry_at=retry_at, **ended)
    return 0 if status.data["state"] in ("succeeded", "stopped") else 1


def run() -> int:
    """Run jobs until none is left; 0 also when another runner works."""
    signalled = threading.Event()

    def on_term(_number: int, _frame: object) -> None:
        signalled.set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_term)
    code, job_file = 0, HERE / "job.json"
    while True:
        text = job_file.read_bytes() if job_file.exists() else b""
        with (HERE / "runner.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return code
            with contextlib.suppress(OSError):  # for people: nobody acts on the number
                os.ftruncate(lock.fileno(), 0)
                os.write(lock.fileno(), str(os.getpid()).encode())
            code = work(signalled)
        if signalled.is_set() or not job_file.exists() or text == job_file.read_bytes():
            return code  # else: a job that came while the lock was held had no other runner


def let_go(lock: IO[str], wait_s: float) -> int:
    """Wait until the runner has let go of its lock: 0, or 1 after `wait_s`, where 0 is no wait at all."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0
        time.sleep(TICK_S)
    if wait_s:
        print(f"the job was asked to end, and still runs after {wait_s:g} s", file=sys.stderr)
    return 1 if wait_s else 0


def stop(wait_s: float) -> int:
    """Ask for the end of the job, whether its runner lives or not; 1 when none runs, or it runs on after `wait_s`."""
    job_id = ""
    with contextlib.suppress(OSError, ValueError, KeyError):
        job_id = str(load(HERE / "status.json")["job_id"])
        if previous(job_id)["state"] in ENDED:
            job_id = str(read_job()["job_id"])
    with (HERE / "runner.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            REQUEST.touch()
            with contextlib.suppress(OSError):  # an empty request is one for any job
                REQUEST.write_text(job_id, encoding="utf-8")
            return let_go(lock, wait_s)
        status = Status(previous(job_id))
        if status.data["starts"] and status.data["state"] not in ENDED:
            os.close(claim(status, 20.0))
            status.settle(state="stopped", pid=None, retry_at=None, message="stopped while no runner was at work")
            return 0
    print("no job is at work: nothing was stopped", file=sys.stderr)
    return 1


def main() -> int:
    """Dispatch the sub-command."""
    command, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("run", [])
    waits = command == "stop" and len(rest) == 1 and rest[0].isdecimal()
    if command not in ("run", "stop", "status") or (rest and not waits):
        print("usage: run_job.py [run|status|stop [SECONDS]]", file=sys.stderr)
        return 2
    try:
        if command != "status":
            return run() if command == "run" else stop(float(rest[0]) if rest else 0.0)
        print((HERE / "status.json").read_text(encoding="utf-8"))
    except OSError as problem:
        print(f"run_job.py {command}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
