"""The server's log: on stderr, and without any secret."""

import logging
import sys
from collections.abc import Callable, Iterable

from remote_gpu_trainer.rules.redaction import redact


class SealedFormatter(logging.Formatter):
    """Takes secrets out of the finished text, traces included."""

    def __init__(self, known: Callable[[], Iterable[str]]) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        """The line as it may be read."""
        return redact(super().format(record), self._known())


def seal_logs(known: Callable[[], Iterable[str]]) -> None:
    """Send every log line of the process through the formatter; replaces the handlers that libraries have set up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SealedFormatter(known))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
