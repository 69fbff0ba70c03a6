"""The parent believes nothing of what a worker answers, and waits for it no longer than is allowed."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.verify.limits import VerifyLimits
from remote_gpu_trainer.verify.registry import BY_NAME
from remote_gpu_trainer.verify.workers import ANSWER_MOST, Answer, Worker

HONEST: dict[str, Any] = {"loaded": True, "findings": [], "facts": {}, "names": [], "numbers": {}}
TAKE = "import socket, sys, time, os, resource\nend = socket.socket(fileno=int(sys.argv[1]))\nend.recv(4096)\n"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "r.json").write_text("{}")
    fd = os.open(tmp_path / "r.json", os.O_RDONLY)
    yield fd
    os.close(fd)


def answered(fd: int, program: str, seconds: float = 20) -> Answer:
    """What comes of one load by this program in a worker's place."""
    worker = Worker(VerifyLimits(seconds=seconds), [sys.executable, "-I", "-c", TAKE + program])
    try:
        return worker.load(fd, 2, BY_NAME["json"])
    finally:
        worker.finish()


def code(answer: Answer) -> str:
    assert not answer.loaded
    return answer.findings[0][0]


def says(answer: dict[str, Any] | bytes) -> str:
    line = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return f"end.sendall({line!r} + b'\\n')\nend.recv(1)"


def test_an_honest_answer_is_taken(file: int) -> None:
    assert answered(file, says(HONEST)).loaded


@pytest.mark.parametrize(
    "lie",
    [
        b"no json",
        b"[]",
        {**HONEST, "more": 1},
        {key: value for key, value in HONEST.items() if key != "loaded"},
        {**HONEST, "loaded": "yes"},
        {**HONEST, "loaded": 1},
        {**HONEST, "findings": [["Not A Code", "error", "x"]]},
        {**HONEST, "findings": [["a", "fatal", "x"]]},
        {**HONEST, "findings": [["a", "note", "x" * 501]]},
        {**HONEST, "facts": {"step": float("nan")}},
        {**HONEST, "facts": {"Step": 1}},
        {**HONEST, "facts": {"step": [1]}},
        {**HONEST, "facts": {f"f{number}": 1 for number in range(41)}},
        {**HONEST, "numbers": {"loss": 0.5}},
    ],
    ids=lambda lie: str(lie)[-40:],
)
def test_an_answer_of_another_shape_is_no_proof(file: int, lie: dict[str, Any] | bytes) -> None:
    assert code(answered(file, says(lie))) == "loader-lied"


def test_more_names_than_a_report_holds_are_no_proof(file: int) -> None:
    many = f"import json\nanswer = {HONEST!r} | {{'names': ['a'] * 50_001}}\n"
    assert (
        code(answered(file, many + "end.sendall(json.dumps(answer).encode() + b'\\n')\nend.recv(1)")) == "loader-lied"
    )


def test_an_answer_without_end_is_cut_off(file: int) -> None:
    assert code(answered(file, f"end.sendall(b'x' * {ANSWER_MOST + 1})\nend.recv(1)")) == "loader-lied"


def test_silence_ends_with_the_time_that_the_file_has_and_an_early_end_is_told(file: int) -> None:
    assert code(answered(file, "time.sleep(60)", seconds=0.5)) == "timeout"
    assert code(answered(file, "end.sendall(b'half')\nsys.exit(3)")) == "loader-died"


def test_an_end_by_the_limit_on_cpu_is_told_as_that(file: int) -> None:
    assert code(answered(file, "import signal\nos.kill(os.getpid(), signal.SIGXCPU)")) == "timeout"


def test_the_worker_of_the_next_file_is_a_new_one(file: int) -> None:
    worker = Worker(VerifyLimits(seconds=20), [sys.executable, "-I", "-c", TAKE + "sys.exit(3)"])
    assert [code(worker.load(file, 2, BY_NAME["json"])) for _ in range(2)] == ["loader-died"] * 2
    worker.finish()
    assert code(worker.load(file, 2, BY_NAME["json"])) == "loader-died"


def test_what_could_deceive_a_terminal_is_taken_out_of_a_finding(file: int) -> None:
    told = {**HONEST, "findings": [["nan", "warning", "a\x1b[2J\u202eb\n"]]}
    assert answered(file, says(told)).artifact_findings()[0].message == "a\ufffd[2J\ufffdb\ufffd"
