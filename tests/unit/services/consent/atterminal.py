"""``rgt`` as a process on a terminal of its own, with a person who types at its prompts."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from tests.stage import Stage, environment

ROOT = Path(__file__).parents[4]
# A session leader without a terminal takes the first one that it opens for its own.
_TAKE_TERMINAL = """
import os, sys
os.close(os.open(sys.argv.pop(1), os.O_RDWR))
from remote_gpu_trainer.__main__ import main
main()
"""
PATIENCE_S = 40.0


@dataclass(frozen=True)
class Sitting:
    """What came of it."""

    status: int
    screen: str
    """Everything that the terminal showed."""
    out: str
    """What went to standard output and error, which an agent's shell tool would read."""


def sit(
    env: Mapping[str, str], arguments: Sequence[str], lines: Sequence[tuple[str, str]], *, python: str = sys.executable
) -> Sitting:
    """Run it; each time that the screen ends with a prompt, the next line that belongs to it is typed."""
    far, near = pty.openpty()
    pending, seen = list(lines), bytearray()
    with subprocess.Popen(
        [python, "-c", _TAKE_TERMINAL, os.ttyname(near), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
    ) as child:
        try:
            for _ in range(int(PATIENCE_S / 0.1)):
                ready, _, _ = select.select([far], [], [], 0.1)
                if ready:
                    seen += os.read(far, 65536)
                elif child.poll() is not None:
                    break
                if pending and seen.endswith(pending[0][0].encode()):
                    os.write(far, f"{pending.pop(0)[1]}\n".encode())
            out = child.communicate(timeout=5)[0]
        finally:
            child.kill()
    os.close(near)
    os.close(far)
    return Sitting(child.returncode, seen.decode().replace("\r\n", "\n"), out)


async def preapprove(stage: Stage, run: str, *more: str, typed: str | None = None) -> Sitting:
    """Agree, or not, that this run may be destroyed later; the person types its name unless told otherwise."""
    env = environment(stage.folder, stage.market)
    arguments = ("preapprove", "--lease", run, "--when", "verified:LOADS", "--off-box", *more)
    return await anyio.to_thread.run_sync(lambda: sit(env, arguments, [("> ", typed or run)]))
