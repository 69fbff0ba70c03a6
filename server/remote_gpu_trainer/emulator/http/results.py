"""Logs and constrained commands, whose results appear late under a URL of their own."""

import asyncio
import os
import re
import secrets
import shlex
import subprocess

from remote_gpu_trainer.emulator.boxes import BoxLike
from remote_gpu_trainer.emulator.contracts import Phase
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, refusal, text_in
from remote_gpu_trainer.emulator.instance_row import shown_message
from remote_gpu_trainer.emulator.world import Result, World

READY_AFTER_S = 1.2
"""Emulated seconds until a result is there."""
TAIL_DEFAULT, TAIL_MOST, COMMAND_MOST, FILTER_MOST = 1000, 100_000, 512, 65_536
FILTER_MOST_S = 2.0
_COSTLY = re.compile(r"\\(?:[1-9]|\{)")
"""References back and counted repetitions, with which a pattern can take for ever or all memory."""
COMMANDS = frozenset({"ls", "rm", "du"})
WRITEABLE_PATH = "/var/lib/docker/overlay2/writeable"


def publish(world: World, text: str) -> str:
    """Put a text behind a new URL, which gives it a little later."""
    name = secrets.token_hex(32)
    world.results[name] = Result(text, world.now + READY_AFTER_S)
    while len(world.results) > 500:
        del world.results[next(iter(world.results))]
    return f"{world.url}/vast.ai/instance_logs/{name}.log"


async def logs(call: Call) -> Answer:
    """``PUT /api/v0/instances/request_logs/{id}/``: container or daemon log, tailed and filtered."""
    contract = call.contract(None, 404, "invalid_id", "Invalid instance id.")
    lines = _lines(call.body.get("tail"))
    box, wanted = call.world.fleet.get(contract.id), text_in(call.body, "filter", FILTER_MOST)
    daemon = str(call.body.get("daemon_logs", "")).lower() == "true"
    found: list[str] = []
    if box is not None:
        found = (box.daemon_log() if daemon else box.container_log(TAIL_MOST)).splitlines()
    if daemon and contract.phase in (Phase.PULLING, Phase.FAILED):
        found.append(shown_message(contract, call.world.now) or "")
    if wanted:
        found = await asyncio.to_thread(grep, wanted, found)
    kept = found[-lines:] if lines else []
    return Answer(
        {
            "success": True,
            "result_url": publish(call.world, "\n".join(kept) + ("\n" if kept else "")),
            "msg": "Logs requested",
        }
    )


def _lines(tail: object) -> int:
    """How many lines a ``tail`` asks for; what is no number asks for all, as the Docker daemon takes it."""
    if tail is None:
        return TAIL_DEFAULT
    if not isinstance(tail, int | float | str):
        raise refusal(400, "invalid_args", "Invalid args: tail must be a number of lines")
    try:
        return min(TAIL_MOST, max(0, int(tail)))
    except (ValueError, OverflowError):
        return TAIL_MOST


def grep(pattern: str, lines: list[str]) -> list[str]:
    """The lines that ``grep`` would print, as the file calls the filter; a costly or broken pattern is plain text.

    The system's own program, because its time grows with the text only: Python's ``re`` can be made to run for ever.
    """
    if "\0" in pattern:
        return []
    for words in [["-F"]] if _COSTLY.search(pattern) else [[], ["-F"]]:
        try:
            done = subprocess.run(
                ["grep", "-a", *words, "-e", pattern.encode(errors="replace")],
                input="\n".join(lines).encode(errors="replace"),
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                capture_output=True,
                timeout=FILTER_MOST_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            break
        if done.returncode in (0, 1):
            return done.stdout.decode(errors="replace").splitlines()
    return [line for line in lines if pattern in line]


def command(call: Call) -> Answer:
    """``PUT /api/v0/instances/command/{id}/``: ls, rm or du on the disk, by some reports on stopped boxes only."""
    contract = call.contract(None, 400, "invalid_container_id", "Invalid container id.")
    words = _words(text_in(call.body, "command", COMMAND_MOST))
    box = call.world.fleet.get(contract.id)
    stopped_only = call.world.quirks.on("command-stopped-only")
    if box is None or contract.phase is Phase.OFFLINE or (stopped_only and contract.phase is Phase.RUNNING):
        raise refusal(400, "invalid_container", "Container is not available for this command.")
    return Answer(
        {
            "success": True,
            "writeable_path": WRITEABLE_PATH,
            "result_url": publish(call.world, _ran(box, words)),
            "msg": "Command is executing, wait a few seconds and then view the result_url",
        }
    )


def _ran(box: BoxLike, words: list[str]) -> str:
    try:
        return box.run_command(words)
    except (OSError, RuntimeError, ValueError) as problem:
        return f"{words[0]}: {problem}\n"


def _words(text: str | None) -> list[str]:
    try:
        words = shlex.split(text or "")
    except ValueError:
        words = []
    if not words or words[0] not in COMMANDS:
        raise refusal(400, "invalid_args", "Invalid command given.")
    return words


def read(world: World, name: str) -> Answer:
    """The result behind a URL: 404 as a bucket says it until it is there."""
    found = world.results.get(name.removesuffix(".log"))
    if found is None or world.now < found.ready_at:
        return Answer(None, 404, text='<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>')
    return Answer(None, 200, text=found.text)


ROUTES = [
    Endpoint("PUT", "/api/v0/instances/request_logs/{id}", logs, 0.0, "instance_read", "api.instance.request_logs"),
    Endpoint("PUT", "/api/v0/instances/command/{id}", command, 1.5, "instance_write", "api.instance.command"),
]
