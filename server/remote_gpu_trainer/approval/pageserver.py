"""Serving the pages on loopback, beside whatever else the process does."""

import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.page import ApprovalPages, LevelOf, PageBook
from remote_gpu_trainer.approval.pageenrol import EnrolPages
from remote_gpu_trainer.approval.passkey import Passkey
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.ports import Clock

_LOOK_EVERY_S = 0.5
_GRACE_S = 5
_TRIES = 20


class LoopbackServer:
    """A server on both loopback addresses in a thread of its own, while the block runs.

    Both, since ``localhost`` may mean either: what listened on the other one would be handed the one-time link.

    Args:
        port: 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, *, port: int) -> None:
        self._sockets = _listening(port)
        self.port: int = self._sockets[0].getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def serve(self, app: ASGIApp) -> None:
        """Begin."""
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": self._sockets}, name="approval-page", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End. Safe to repeat."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=2 * _GRACE_S)
        for one in self._sockets:
            one.close()


class PageServer:
    """The pages of open requests, served while the block runs.

    Args:
        book: Where the requests are.
        port: 0 takes a free one.
        level_of: What a yes to a plan needs.
        passkeys: The folder of the registered ones.
        on_answer: Told of each answer, from the server's thread. It never gets a token.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self,
        book: PageBook,
        *,
        port: int = 0,
        level_of: LevelOf = lambda plan: AssuranceLevel.PERSON,
        passkeys: Path | None = None,
        on_answer: Callable[[ApprovalId, Answer], None] | None = None,
    ) -> None:
        self._server = LoopbackServer(port=port)
        self.port = self._server.port
        self._pages = ApprovalPages(book, port=self.port, level_of=level_of, passkeys=passkeys, on_answer=on_answer)

    def link(self, approval: ApprovalId) -> str:
        """A fresh address for one request, good for one browser."""
        return self._pages.link(approval)

    def __enter__(self) -> Self:
        self._server.serve(self._pages.app())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()


def serve_page(
    book: PageBook,
    approval: ApprovalId,
    *,
    announce: Callable[[str], None],
    port: int = 0,
    level_of: LevelOf = lambda plan: AssuranceLevel.PERSON,
    passkeys: Path | None = None,
) -> Answer:
    """Serve the page of one request until it is answered, here or elsewhere, or ends.

    Args:
        book: Where the request is.
        approval: Which.
        announce: Told the one-time address, to open a browser or to print it where only the person reads.
        port: 0 takes a free one.
        level_of: What a yes to a plan needs.
        passkeys: The folder of the registered ones.

    Raises:
        ConfigError: the port is taken.
    """
    answers: list[Answer] = []
    answered = threading.Event()

    def keep(_: ApprovalId, answer: Answer) -> None:
        answers.append(answer)
        answered.set()

    with PageServer(book, port=port, level_of=level_of, passkeys=passkeys, on_answer=keep) as server:
        announce(server.link(approval))
        while not answered.wait(_LOOK_EVERY_S):
            known = book.get(approval)
            if known is None or known.state is not ApprovalState.OPEN:
                break
    return answers[0] if answers else Answer(agreed=False, reason="the question ended without an answer on the page")


def serve_enrolment(
    folder: Path, *, clock: Clock, announce: Callable[[str], None], patience_s: float, port: int = 0
) -> Passkey | None:
    """Serve the page that registers a passkey, until one is registered; None when nobody did in time.

    Raises:
        ConfigError: the port is taken.
    """
    made: list[Passkey] = []
    registered = threading.Event()

    def keep(passkey: Passkey) -> None:
        made.append(passkey)
        registered.set()

    server = LoopbackServer(port=port)
    try:
        pages = EnrolPages(folder, port=server.port, clock=clock, on_registered=keep)
        server.serve(pages.app())
        announce(pages.link())
        registered.wait(patience_s)
    finally:
        server.close()
    return made[0] if made else None


def _listening(port: int) -> list[socket.socket]:
    for _ in range(_TRIES):
        first = _bound(socket.AF_INET, "127.0.0.1", port)
        try:
            second = _bound(socket.AF_INET6, "::1", first.getsockname()[1])
        except ConfigError:
            first.close()
            if port:
                raise
            continue
        except OSError:  # this computer has no IPv6
            return [first]
        return [first, second]
    raise _taken(port, "no port is free on both loopback addresses")


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen()
    except OSError as problem:
        made.close()
        if problem.errno in (errno.EADDRINUSE, errno.EACCES):
            raise _taken(port, problem.strerror or "taken") from problem
        raise
    return made


def _taken(port: int, why: str) -> ConfigError:
    return ConfigError(
        f"the page cannot listen on port {port}: {why}",
        next_step="give another port, or 0 for any free one",
        effect="Nobody was asked.",
    )
