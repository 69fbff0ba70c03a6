"""The official CLI and SDK, imported once and forked for each command: importing them takes longer than most commands.

As a program, it answers each order on standard input with the exit status of the fork that carried it out.
"""

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
    """A process that has imported them under one environment."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, words: Sequence[str], stdin: str = "", source: str | None = None) -> Said:
        """One command in a fork of its own; ``source`` is run in place of the command line."""
        files = {name: self._folder / f".{name}" for name in STREAMS}
        files["in"].write_text(stdin)
        order = {"words": list(words), "source": source, **{name: str(path) for name, path in files.items()}}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer.strip() != str(-signal.SIGALRM), f"{words} was not over after {PATIENCE_S} s"
        return Said(files["out"].read_text(), files["err"].read_text(), int(answer))

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=PATIENCE_S)


def become(order: dict[str, Any]) -> None:
    """In the fork: take the order's streams and words, and run. What ends it ends the process, as of any program."""
    for fd, name in enumerate(STREAMS):
        opened = os.open(order[name], os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["vastai", *order["words"]]
    if order["source"] is not None:
        exec(compile(order["source"], "source", "exec"), {"__name__": "__main__"})  # noqa: S102  # a test's own program
        sys.exit()
    cli: Any = importlib.import_module("vastai.cli.main")
    sys.exit(cli.main())


def learn() -> None:
    """Import what a command imports by itself, as a fork tells that was asked for nothing but help."""
    known = set(sys.modules)
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["vastai", "--help"]
        cli: Any = importlib.import_module("vastai.cli.main")
        try:
            cli.main()
        finally:
            os.write(told, json.dumps(sorted(set(sys.modules) - known)).encode())
            os._exit(0)
    os.close(told)
    with open(heard, encoding="utf-8") as names:
        for name in json.load(names):
            importlib.import_module(name)
    os.waitpid(child, 0)


def serve() -> None:
    """Fork once for each order."""
    importlib.import_module("vastai.cli.main")
    learn()
    gc.freeze()  # or each fork, as it ends, searches all that it never used for what to free
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE_S)
            become(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
