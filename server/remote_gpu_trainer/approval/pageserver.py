"""Serving the page on loopback, beside whatever else the process does."""

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn

from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.page import ApprovalPages
from remote_gpu_trainer.domain.approvals import ApprovalState
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.ports import ApprovalBook

_LOOK_EVERY_S = 0.5
_GRACE_S = 5


class PageServer:
    """A server on 127.0.0.1 in a thread of its own, while the block runs.

    Args:
        book: Where the requests are.
        port: 0 takes a free one.
        on_answer: Told of each answer, from the server's thread. It never gets a token.

    Raises:
        ConfigError: on entering, when the port is taken.
    """

    def __init__(
        self, book: ApprovalBook, *, port: int = 0, on_answer: Callable[[ApprovalId, Answer], None] | None = None
    ) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as problem:
            self._socket.close()
            raise ConfigError(
                f"the page cannot listen on port {port}: {problem.strerror}",
                next_step="give another port, or 0 for any free one",
                effect="Nobody was asked.",
            ) from problem
        self.port: int = self._socket.getsockname()[1]
        self._pages = ApprovalPages(book, port=self.port, on_answer=on_answer)
        config = uvicorn.Config(
            self._pages.app(),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="approval-page", daemon=True
        )

    def link(self, approval: ApprovalId) -> str:
        """A fresh address for one request, good for one browser."""
        return self._pages.link(approval)

    def __enter__(self) -> Self:
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=2 * _GRACE_S)
        self._socket.close()


def serve_page(book: ApprovalBook, approval: ApprovalId, *, announce: Callable[[str], None], port: int = 0) -> Answer:
    """Serve the page of one request until it is answered, here or elsewhere, or ends.

    Args:
        book: Where the request is.
        approval: Which.
        announce: Told the one-time address, to open a browser or to print it where only the person reads.
        port: 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """
    answers: list[Answer] = []
    answered = threading.Event()

    def keep(_: ApprovalId, answer: Answer) -> None:
        answers.append(answer)
        answered.set()

    with PageServer(book, port=port, on_answer=keep) as server:
        announce(server.link(approval))
        while not answered.wait(_LOOK_EVERY_S):
            known = book.get(approval)
            if known is None or known.state is not ApprovalState.OPEN:
                break
    return answers[0] if answers else Answer(agreed=False, reason="the question ended without an answer on the page")
