"""The page beside a running server, served from the first time that somebody is sent there."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from remote_gpu_trainer.domain.ids import ApprovalId

if TYPE_CHECKING:
    from remote_gpu_trainer.approval.pageserver import PageServer


class LazyDoor:
    """Implements ``ports.PageDoor``. Nothing listens, and nothing of the page is imported, before the first link.

    Args:
        make: Makes the page server when it is first needed.
    """

    def __init__(self, make: "Callable[[], PageServer]") -> None:
        self._make = make
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._server: PageServer | None = None

    def link(self, approval: ApprovalId) -> str:
        """A fresh one-time address of one request.

        Raises:
            ConfigError: the page cannot be served.
        """
        with self._lock:
            if self._server is None:
                self._server = self._open.enter_context(self._make())
            return self._server.link(approval)

    def close(self) -> None:
        """Serve no longer. Safe to repeat."""
        with self._lock:
            self._server = None
            self._open.close()
