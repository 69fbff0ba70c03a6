"""Asking in a terminal that a person sits at. The token is shown there, once, and goes nowhere else."""

import os
import termios
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

from remote_gpu_trainer.approval.dossier import render, when
from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.approval.summary import summary
from remote_gpu_trainer.approval.typedname import why_not
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConsentError, InvalidRequest
from remote_gpu_trainer.ports import ApprovalBook

_TRIES = 3
_LOCAL_FLAGS = 3  # the place of c_lflag in what tcgetattr gives
_SUMMARY_LIMIT = 2400


Grant = Callable[[ApprovalRequest], str]
"""Mints the token of a request that the person agreed to, or raises ConsentError."""

Use = Callable[[ApprovalRequest, str, TextIO], None]
"""What becomes of the token: shown to the person, or used here and now and never shown."""


NOT_APPROVED = "Nothing was approved."
NOT_REGISTERED = "Nothing was registered."


@contextmanager
def controlling_terminal(*, effect: str = NOT_APPROVED) -> Generator[tuple[TextIO, TextIO]]:
    """The terminal that this process belongs to, to read from and to write to, whatever stdin and stdout are.

    Args:
        effect: What did not happen, where there is none.

    Raises:
        ConsentError: there is none, as under a pipe, a service or an agent's shell tool.
    """
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError as problem:
        raise _no_terminal(f"this process has no controlling terminal ({problem.strerror})", effect) from problem
    with (
        os.fdopen(descriptor, "r", encoding="utf-8", errors="surrogateescape") as source,
        os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="backslashreplace") as target,
    ):
        yield source, target


def approve_on_terminal(
    book: ApprovalBook,
    approval: ApprovalId,
    *,
    input_tty: TextIO | None = None,
    output: TextIO | None = None,
    grant: Grant | None = None,
    use: Use | None = None,
) -> Answer:
    """Show the dossier of one request, ask, and on a yes show the token once, or use it.

    Args:
        book: Where the request is.
        approval: Which.
        input_tty: A terminal to read from; without it and ``output``, the controlling terminal is opened.
        output: A terminal to write to.
        grant: What mints the token after a yes, such as ``by_security_key``; without it, typing is enough and the
            level is ``person``.
        use: What to do with the token in place of showing it; it writes to the terminal what came of it.

    Returns:
        What the person answered. It does not hold the token.

    Raises:
        ConsentError: there is no terminal, the request is not open, or ``grant`` was not satisfied.
        InvalidRequest: there is no such request.
    """

    def by_typing(request: ApprovalRequest) -> str:
        return book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)

    mint = grant or by_typing
    if input_tty is None or output is None:
        with controlling_terminal() as (source, target):
            return _ask(book, approval, source, target, mint, use or show_token)
    if not (input_tty.isatty() and output.isatty()):
        raise _no_terminal("input or output is a pipe or a file, not a terminal", NOT_APPROVED)
    return _ask(book, approval, input_tty, output, mint, use or show_token)


def show_token(request: ApprovalRequest, token: str, target: TextIO) -> None:
    """Show the token on the person's terminal, where they read it to the agent."""
    target.write(
        f"\nApproved. The token, shown this once, good for one use until {when(request.expires_at)}:\n\n"
        f"    {token}\n\nGive it to the agent together with the approval id {request.id}.\n"
    )


def ask_passphrase(prompt: str, *, effect: str = NOT_APPROVED) -> str:
    """Read a passphrase from the controlling terminal without showing it. Never from standard input.

    Raises:
        ConsentError: there is no terminal, or it was closed; ``effect`` is what did not happen then.
    """
    with controlling_terminal(effect=effect) as (source, target):
        shown = termios.tcgetattr(source.fileno())
        hidden = list(shown)
        hidden[_LOCAL_FLAGS] &= ~termios.ECHO
        try:
            # TCSAFLUSH also throws away what was typed before.
            termios.tcsetattr(source.fileno(), termios.TCSAFLUSH, hidden)
            target.write(prompt)
            target.flush()
            line = source.readline()
        finally:
            termios.tcsetattr(source.fileno(), termios.TCSAFLUSH, shown)
            target.write("\n")
    if not line:
        raise _no_terminal("the terminal was closed without a passphrase", effect)
    return line.rstrip("\r\n")


def confirm_on_terminal(prompt: str, word: str) -> None:
    """Ask for one word on the controlling terminal, before something is registered.

    Raises:
        ConsentError: there is no terminal, or something else was typed.
    """
    if (problem := why_not(ask_to_register(prompt), word)) is not None:
        raise ConsentError(problem, next_step="run it again and type the word exactly", effect=NOT_REGISTERED)


def ask_to_register(prompt: str) -> str:
    """Ask for one line on the controlling terminal, before something is registered.

    Raises:
        ConsentError: there is no terminal, or it was closed.
    """
    with controlling_terminal(effect=NOT_REGISTERED) as (source, target):
        termios.tcflush(source.fileno(), termios.TCIFLUSH)
        target.write(prompt)
        target.flush()
        line = source.readline()
    if not line:
        raise _no_terminal("the terminal was closed without an answer", NOT_REGISTERED)
    return line.rstrip("\r\n")


def _no_terminal(seen: str, effect: str) -> ConsentError:
    return ConsentError(
        seen,
        next_step="a person runs rgt approve in a terminal window of their own",
        effect=effect,
    )


def _open_request(book: ApprovalBook, approval: ApprovalId) -> ApprovalRequest:
    request = book.get(approval)
    if request is None:
        raise InvalidRequest(
            f"there is no approval {approval!r}",
            next_step="run rgt approve without an id to list those that wait",
            effect=NOT_APPROVED,
        )
    if request.state is not ApprovalState.OPEN:
        raise ConsentError(
            f"approval {approval!r} is {request.state}" + (f": {visible(request.reason)}" if request.reason else ""),
            next_step="let the agent ask again",
            effect=effect_of(request.plan.action),
        )
    return request


def _ask(book: ApprovalBook, approval: ApprovalId, source: TextIO, target: TextIO, mint: Grant, use: Use) -> Answer:
    request = _open_request(book, approval)
    target.write(render(request.plan))
    target.write("\n" + "-" * 72 + "\nIn short:\n")
    target.write(summary(request.plan, limit=_SUMMARY_LIMIT, where="above") + "\n\n")
    target.write(f"This question ends at {when(request.expires_at)}.\n")
    target.write(f"To agree, type the name exactly: {visible(request.plan.name)}\n")
    target.write("To refuse, type no, and a reason if you like.\n")
    answer = _read_answer(request, source, target)
    if not answer.agreed:
        book.decline(approval, channel=Channel.TERMINAL, reason=answer.reason)
        target.write(f"Refused. {effect_of(request.plan.action)}\n")
        target.flush()
        return answer
    target.flush()
    use(request, mint(request), target)
    target.flush()
    return answer


def _read_answer(request: ApprovalRequest, source: TextIO, target: TextIO) -> Answer:
    for left in reversed(range(_TRIES)):
        target.flush()
        # What was typed before the prompt is no answer to it.
        termios.tcflush(source.fileno(), termios.TCIFLUSH)
        target.write("> ")
        target.flush()
        line = source.readline()
        if not line:
            return Answer(agreed=False, reason="the terminal was closed without an answer")
        typed = line.rstrip("\r\n")
        problem = why_not(typed, request.plan.name)
        if problem is None:
            return Answer(agreed=True, reason="")
        word, _, rest = typed.partition(" ")
        if word.casefold() == "no":
            return Answer(agreed=False, reason=visible(rest.strip()) or "the person said no and gave no reason")
        if left:
            target.write(f"Not yet: {problem}. Try again, or type no.\n")
    return Answer(agreed=False, reason=f"the name was not typed exactly in {_TRIES} tries")
