"""A program imported once and forked for each command: importing it takes longer than most commands.

As a program, it answers each order on standard input with the exit status of the fork that carried it out.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 40
STREAMS = ("in", "out", "err")


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    out: str
    err: str
    status: int


class Preloaded:
    """A process that has imported a program under one environment.

    Args:
        program: Its name, and where its ``main`` is.
        learned: The words of commands that import what others will need. They run once, in forks, and go unheard.
        env: What is in force as it is imported, and in each command that brings none of its own.
        folder: For the streams of the commands.
    """

    def __init__(
        self, program: tuple[str, str], learned: Sequence[Sequence[str]], env: Mapping[str, str], folder: Path
    ) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, *program, json.dumps(learned)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, words: Sequence[str], stdin: str = "", source: str | None = None, env: Mapping[str, str] | None = None
    ) -> Said:
        """One command in a fork of its own; ``source`` is run in place of the command line."""
        files = {name: self._folder / f".{name}" for name in STREAMS}
        files["in"].write_text(stdin)
        order = {
            "words": list(words),
            "source": source,
            "env": env,
            **{name: str(path) for name, path in files.items()},
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer.strip() != str(-signal.SIGALRM), f"{words} was not over after {PATIENCE_S} s"
        return Said(files["out"].read_text(), files["err"].read_text(), int(answer))

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=PATIENCE_S)


def become(name: str, module: str, order: dict[str, Any]) -> None:
    """In the fork: take the order's streams and words, and run. What ends it ends the process, as of any program."""
    for fd, stream in enumerate(STREAMS):
        opened = os.open(order[stream], os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = [name, *order["words"]]
    if order["env"] is not None:
        os.environ.clear()
        os.environ.update(order["env"])
    if order["source"] is not None:
        exec(compile(order["source"], "source", "exec"), {"__name__": "__main__"})  # noqa: S102  # a test's own program
        sys.exit()
    program: Any = importlib.import_module(module)
    sys.exit(program.main())


def learn(name: str, module: str, words: Sequence[str]) -> None:
    """Import what this command imports by itself, in the order in which a fork that runs it tells."""
    known = set(sys.modules)
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        try:
            become(name, module, {"words": words, "source": None, "env": None, **dict.fromkeys(STREAMS, os.devnull)})
        finally:
            with open(told, "w", encoding="utf-8") as names:
                json.dump([one for one in sys.modules if one not in known], names)
            os._exit(0)
    os.close(told)
    with open(heard, encoding="utf-8") as names:
        for one in json.load(names):
            with contextlib.suppress(ImportError):  # made by another module as it ran, and made again by each command
                importlib.import_module(one)
    os.waitpid(child, 0)


def serve(name: str, module: str, learned: str) -> None:
    """Fork once for each order."""
    importlib.import_module(module)
    for words in json.loads(learned):
        learn(name, module, words)
    gc.freeze()  # or each fork, as it ends, searches all that it never used for what to free
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE_S)
            become(name, module, json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
