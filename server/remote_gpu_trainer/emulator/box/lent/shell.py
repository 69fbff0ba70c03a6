"""``sh`` and ``bash`` where plain folders stand in for a box: the script is run with its paths made real."""

import importlib
import os
import signal
import sys
from pathlib import Path

LONGEST = 120_000
"""A script longer than one argument may be is run as it is."""


def rewritten(words: list[str]) -> list[str]:
    """The shell's arguments with the ``-c`` text, or the content of the script file, rewritten."""
    there = importlib.import_module("rgt_box_paths").from_environment()
    if there is None:
        return words
    for place, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and "c" in word and place + 1 < len(words):
            rest = [there.path(value) for value in words[place + 2 :]]
            return [*words[: place + 1], there.text(words[place + 1]), *rest]
        if not word.startswith("-"):
            script, rest = Path(there.path(word)), [there.path(value) for value in words[place + 1 :]]
            try:
                text = there.text(script.read_text(errors="surrogateescape"))
            except OSError:  # the shell says it better
                return [*words[:place], str(script), *rest]
            if "\0" in text or len(text) > LONGEST:
                return [*words[:place], str(script), *rest]
            return [*words[:place], "-c", text, str(script), *rest]
    return words


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so in the shell
    os.execv(sys.argv[1], [sys.argv[1], *rewritten(sys.argv[2:])])  # noqa: S606  # the shell itself, found by the host
