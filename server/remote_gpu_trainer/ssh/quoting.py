"""Argument lists as one line for the far POSIX shell, since SSH carries no lists."""

import shlex
from collections.abc import Sequence

from remote_gpu_trainer.errors import InvalidRequest


def command_line(argv: Sequence[str]) -> str:
    """Each argument quoted for a POSIX shell, joined by spaces.

    Raises:
        InvalidRequest: there is no argument, or one holds a NUL, which no process can receive.
    """
    if not argv:
        raise InvalidRequest("an empty command", effect="Nothing was run on the machine.")
    for number, word in enumerate(argv):
        if "\0" in word:
            raise InvalidRequest(f"argument {number} holds a NUL byte", effect="Nothing was run on the machine.")
    return shlex.join(argv)
