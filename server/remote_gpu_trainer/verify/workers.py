"""The parent's end of a worker: start it, hand it a descriptor, bound the wait and the answer, believe nothing."""

import json
import os
import signal
import site
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, Severity
from remote_gpu_trainer.verify.limits import VerifyLimits
from remote_gpu_trainer.verify.registry import Format

ANSWER_MOST = 32 << 20
LIBRARY_BYTES = 4 << 30
"""Address space, not memory, that the libraries behind some loaders are given."""
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
}  # fmt: skip
"""All that a worker is told: one thread for each library, and a memory pool that the limit can see."""


def program() -> tuple[str, ...]:
    """What is started, with the number of its end of the socket behind.

    ``-I`` leaves out the user's own site folder, where ``pip install --user`` may have put all of this: it is added by
    name where this process uses it. Neither the environment nor the current folder adds anything.
    """
    isolated = (sys.executable, "-I", "-B")
    own = site.getusersitepackages()
    if not site.ENABLE_USER_SITE or own not in sys.path:
        return *isolated, "-m", "remote_gpu_trainer.verify.worker"
    start = f"import site; site.addsitedir({own!r}); from remote_gpu_trainer.verify.worker import main; main()"
    return *isolated, "-c", start


_Code = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
_FactName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
_Fact = Annotated[str, Field(max_length=500)] | bool | int | float


class Answer(BaseModel):
    """What a worker may say, and no more."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    loaded: bool
    findings: list[tuple[_Code, Literal["error", "warning", "note"], Annotated[str, Field(max_length=500)]]]
    facts: dict[_FactName, _Fact] = Field(max_length=40)
    names: list[Annotated[str, Field(max_length=500)]] = Field(max_length=50_000)
    numbers: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=40)]] = Field(max_length=1000)
    shards: dict[Annotated[str, Field(max_length=200)], list[Annotated[str, Field(max_length=500)]]] = Field(
        default_factory=dict[str, list[str]], max_length=10_000
    )

    def artifact_findings(self) -> tuple[ArtifactFinding, ...]:
        """The findings, with what could deceive a terminal taken out."""
        return tuple(
            ArtifactFinding(code=code, severity=Severity(weight), message=plain(text))
            for code, weight, text in self.findings
        )


def failed(code: str, message: str) -> Answer:
    """The answer in place of one that never came."""
    return Answer(loaded=False, findings=[(code, "error", message)], facts={}, names=[], numbers={})


def plain(text: str) -> str:
    """The text without control and direction characters."""
    return "".join(letter if unicodedata.category(letter)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for letter in text)


class Worker:
    """One process, started when first needed and again after each loss. Used by one thread at a time."""

    def __init__(self, limits: VerifyLimits, start: Sequence[str] | None = None) -> None:
        self._limits = limits
        self._program = program() if start is None else start
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._closed = False

    def load(self, fd: int, size: int, kind: Format) -> Answer:
        """Let the worker load the open file. Blocks within the limits; a loss is charged to this file."""
        seconds = self._limits.seconds_for(size)
        request = {
            "format": kind.name,
            "memory_bytes": self._limits.memory_bytes,
            "library_bytes": (size if kind.maps_file else 0) + (LIBRARY_BYTES if kind.maps_file or kind.library else 0),
            "cpu_seconds": seconds,
        }
        deadline = time.monotonic() + seconds
        try:
            channel = self._start()
            channel.settimeout(seconds)
            socket.send_fds(channel, [json.dumps(request).encode()], [fd])
            return Answer.model_validate_json(_line(channel, deadline))
        except TimeoutError:
            self._stop()
            return failed("timeout", f"loading it took longer than {seconds:.0f} s and was ended")
        except (OSError, EOFError):
            status = self._stop()
            if status == -signal.SIGXCPU:
                return failed("timeout", f"loading it took more than {seconds:.0f} s of CPU and was ended")
            return failed("loader-died", f"its loader ended with status {status}, so it does not load")
        except (ValueError, ValidationError) as error:
            self._stop()
            return failed("loader-lied", f"its loader gave an answer of another shape ({type(error).__name__})")

    def close(self) -> None:
        """End it, from any thread; a load that still waits ends with it."""
        self._closed = True
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def _start(self) -> socket.socket:
        if self._closed:
            raise EOFError
        if self._channel is not None:
            return self._channel
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*self._program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=ENVIRONMENT,
                cwd=os.sep,
            )
        self._channel = ours
        return ours

    def _stop(self) -> int | None:
        process, channel, self._process, self._channel = self._process, self._channel, None, None
        if channel is not None:
            channel.close()
        if process is None:
            return None
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def finish(self) -> None:
        """Close and reap. Called once no thread uses it any more."""
        self.close()
        self._stop()


def _line(channel: socket.socket, deadline: float) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        piece = channel.recv(1 << 20)
        if not piece:
            raise EOFError
        data += piece
        if len(data) > ANSWER_MOST:
            raise ValueError("the answer is too long")
    return bytes(data)
