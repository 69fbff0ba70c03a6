"""The terminal: only a real one, the whole dossier, the exact name, and the token shown once."""

import io
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.terminal import Grant, approve_on_terminal
from remote_gpu_trainer.approval.token import normalise
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConsentError, InvalidRequest
from tests.unit.database.builders import LEASE, HandClock, a_teardown


@dataclass
class Person:
    """Sits at the other end of a pseudo-terminal: reads all, and types a line at each prompt."""

    far: int
    near: int
    lines: list[str] = field(default_factory=list[str])
    seen: bytearray = field(default_factory=bytearray)

    def answer(self, book: SqliteApprovalBook, approval: ApprovalId, *, grant: Grant | None = None) -> Answer:
        with self.stream("r") as source, self.stream("w") as target:
            watcher = threading.Thread(target=self.sit)
            watcher.start()
            try:
                return approve_on_terminal(book, approval, input_tty=source, output=target, grant=grant)
            finally:
                os.write(self.near, b"\x00END")
                watcher.join(timeout=20)

    def stream(self, mode: Literal["r", "w"]) -> TextIO:
        return os.fdopen(os.dup(self.near), mode, encoding="utf-8")

    def sit(self) -> None:
        pending = list(self.lines)
        prompts = 0
        while not self.seen.endswith(b"\x00END"):
            self.seen += os.read(self.far, 65536)
            if self.seen.count(b"\n> ") > prompts and self.seen.endswith(b"> ") and pending:
                prompts += 1
                os.write(self.far, pending.pop(0).encode())

    @property
    def screen(self) -> str:
        return self.seen.decode().replace("\r\n", "\n")


@pytest.fixture
def person() -> Iterator[Person]:
    far, near = pty.openpty()
    yield Person(far, near)
    os.close(far)
    os.close(near)


def tokens_in(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.startswith("    ") and line.count("-") == 6]


def test_the_exact_name_approves_and_shows_the_token_once(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    person.lines = [f"{LEASE}\n"]
    answer = person.answer(book, request.id)
    assert answer.agreed
    [token] = tokens_in(person.screen)
    assert person.screen.count(token) == 1 and token not in repr(answer)
    known = book.check(request.id, token, plan_digest=request.plan_digest)
    assert (known.channel, known.assurance) == (Channel.TERMINAL, AssuranceLevel.PERSON)


def test_the_whole_dossier_is_shown_before_the_question(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    person.lines = ["no\n"]
    person.answer(book, request.id)
    assert person.screen.startswith(render(request.plan))
    assert "This question ends at 2026-08-01 12:15:00 UTC." in person.screen


def test_a_no_with_a_reason_is_kept_and_mints_nothing(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    person.lines = ["no keep it until Monday\n"]
    assert person.answer(book, request.id) == Answer(agreed=False, reason="keep it until Monday")
    known = book.get(request.id)
    assert known is not None and known.state is ApprovalState.DECLINED and known.reason == "keep it until Monday"
    assert tokens_in(person.screen) == [] and "The instance was not destroyed." in person.screen


def test_a_wrong_name_can_be_typed_again(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    person.lines = ["yes\n", f"{LEASE}\n"]
    assert person.answer(book, request.id).agreed
    assert "Not yet: what was typed is not the instance's name." in person.screen


def test_a_factor_that_is_not_satisfied_leaves_the_question_open(book: SqliteApprovalBook, person: Person) -> None:
    def refuse(request: ApprovalRequest) -> str:
        raise ConsentError(f"nobody touched the key for {request.plan.name}")

    request = book.request(a_teardown(), ttl_s=900)
    person.lines = [f"{LEASE}\n"]
    with pytest.raises(ConsentError, match="nobody touched"):
        person.answer(book, request.id, grant=refuse)
    assert [known.id for known in book.open_requests()] == [request.id] and tokens_in(person.screen) == []


def test_three_wrong_names_are_a_no(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    person.lines = ["yes\n", "y\n", "d\u0456gits-k3vq7m\n"]
    assert not person.answer(book, request.id).agreed
    known = book.get(request.id)
    assert known is not None and known.state is ApprovalState.DECLINED


def test_what_was_typed_before_the_question_is_no_answer(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    os.write(person.far, f"{LEASE}\n".encode())
    person.lines = ["no\n"]
    assert not person.answer(book, request.id).agreed


def test_the_end_of_input_is_a_no(book: SqliteApprovalBook, person: Person) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    person.lines = ["\x04"]
    assert person.answer(book, request.id).reason == "the terminal was closed without an answer"


def test_a_pipe_is_no_terminal(book: SqliteApprovalBook) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    with pytest.raises(ConsentError, match=r"not a terminal.*Nothing was approved"):
        approve_on_terminal(book, request.id, input_tty=io.StringIO(f"{LEASE}\n"), output=io.StringIO())
    assert [open_.id for open_ in book.open_requests()] == [request.id]


def test_a_request_that_is_not_open_is_not_asked(book: SqliteApprovalBook, person: Person, clock: HandClock) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    clock.pass_by(900)
    with pytest.raises(ConsentError, match="is expired"):
        person.answer(book, request.id)
    with pytest.raises(InvalidRequest, match="no approval"):
        person.answer(book, ApprovalId("ap-nothing2"))


ROOT = Path(__file__).parents[3]

TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(os.open(sys.argv[3], os.O_RDWR), termios.TIOCSCTTY, 0)
"""

PROGRAM = """
import sys
from pathlib import Path
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.terminal import approve_on_terminal
from remote_gpu_trainer.errors import ConsentError
from tests.unit.database.builders import HandClock
with SqliteApprovalBook(Path(sys.argv[1]), clock=HandClock()) as book:
    try:
        print(approve_on_terminal(book, sys.argv[2]))
    except ConsentError as problem:
        print(problem)
"""


def test_without_a_controlling_terminal_nothing_is_asked(book: SqliteApprovalBook, file: Path) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), request.id],
        input=f"{LEASE}\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=30,
        check=True,
        cwd=ROOT,
    )
    assert "no controlling terminal" in ended.stdout and "Nothing was approved." in ended.stdout
    assert [open_.id for open_ in book.open_requests()] == [request.id]


ASK = """
from remote_gpu_trainer.approval.terminal import ask_passphrase
print(repr(ask_passphrase("Passphrase: ")))
"""


def test_a_passphrase_is_read_from_the_terminal_and_not_shown() -> None:
    far, near = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL + ASK, "", "", os.ttyname(near)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    ) as child:
        seen = bytearray()
        while not seen.endswith(b"Passphrase: "):
            seen += os.read(far, 65536)
        os.write(far, "f\u00fcnf words\n".encode())
        printed, _ = child.communicate(timeout=30)
    seen += os.read(far, 65536)
    os.close(far)
    os.close(near)
    assert printed == "'f\u00fcnf words'\n" and b"words" not in seen


def test_a_passphrase_is_not_read_from_a_pipe() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASK],
        input="from a pipe\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 1 and "no controlling terminal" in ended.stderr


def test_the_controlling_terminal_is_used_whatever_standard_input_is(book: SqliteApprovalBook, file: Path) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    far, near = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL + PROGRAM, str(file), request.id, os.ttyname(near)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    ) as child:
        seen = bytearray()
        while not seen.endswith(b"> "):
            seen += os.read(far, 65536)
        os.write(far, f"{LEASE}\n".encode())
        printed, _ = child.communicate(timeout=30)
    seen += os.read(far, 65536)
    os.close(far)
    os.close(near)
    assert child.returncode == 0
    [token] = tokens_in(seen.decode().replace("\r\n", "\n"))
    assert len(normalise(token)) == 28
    assert "agreed=True" in printed and token not in printed
