"""Watching without an agent: what changes, what is due, and the end of what was agreed beforehand."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from remote_gpu_trainer.services.container import Services

LOOK_S = 300.0
"""Between two looks at all runs; those that were agreed about beforehand are looked at each minute."""


def watch(
    once: Annotated[bool, typer.Option("--once", help="One look, for a timer of the system; then end.")] = False,
    bring_home: Annotated[
        bool,
        typer.Option("--bring-home", help="Also copy and verify the results of jobs that ended; the bytes cost."),
    ] = False,
) -> None:
    """Watch the held runs, and destroy what you agreed to beforehand once its conditions hold. For a closed laptop."""
    import os

    import anyio

    from remote_gpu_trainer import settings
    from remote_gpu_trainer.app import compose

    async def run() -> None:
        services = compose(settings.load(os.environ))
        try:
            await (_once(services, bring_home) if once else _always(services, bring_home))
        finally:
            await services.aclose()

    try:
        anyio.run(run)
    except KeyboardInterrupt:
        _say("no longer watching: what was agreed beforehand waits for a server or the next `rgt watch`")


async def _once(services: "Services", bring_home: bool) -> None:
    for brought in await services.homeward.round() if bring_home else ():
        _say(brought)
    for night in await services.night.round():
        _say(night)
    for line in await _lines(services):
        _say(line)


async def _always(services: "Services", bring_home: bool) -> None:
    import anyio

    _say("watching; Ctrl-C ends it, and ends nothing else")
    async with anyio.create_task_group() as group:
        group.start_soon(services.night.keep, _say)
        if bring_home:
            group.start_soon(services.homeward.keep, _say)
        shown: set[str] = set()
        while True:
            lines = await _lines(services)
            for line in lines:
                if line not in shown:
                    _say(line)
            shown = set(lines)
            await anyio.sleep(LOOK_S)


async def _lines(services: "Services") -> list[str]:
    """Where each held run stands and what is due; money apart, so that an unchanged run stays one line."""
    from remote_gpu_trainer.errors import RgtError
    from remote_gpu_trainer.tools import answers

    try:
        views = answers.runs(await services.watch.status(None)).runs
    except RgtError as error:
        return [f"the account could not be read: {error.message}"]
    if not views:
        return ["no run is held"]
    stands = [f"{one.run} {one.phase}, machine {one.instance_phase or 'not shown'}: {one.next_step}" for one in views]
    return [*stands, *(f"{one.run}: {note}" for one in views for note in one.notes)]


def _say(line: object) -> None:
    typer.echo(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {line}")
