"""Play the road from end to end, and say at the end whether it held."""

import os
import platform
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import anyio
from rich.console import Console

from remote_gpu_trainer.demo.emulation import Control, Ready, emulator
from remote_gpu_trainer.demo.person import StandIn
from remote_gpu_trainer.demo.report import Report
from remote_gpu_trainer.demo.road import Road
from remote_gpu_trainer.demo.screen import Screen
from remote_gpu_trainer.demo.stage import connected
from remote_gpu_trainer.errors import InvalidRequest, RgtError

SEED = 7
SPEED = 30.0
"""Market seconds per second: images are pulled and the meter runs this much faster."""
AT_MOST_S = 300.0


def run_demo(*, json_file: Path | None, keep: Path | None, plain: bool, picture: Path | None = None) -> int:
    """Run the demo.

    Args:
        json_file: Where the report goes, or None.
        keep: An empty or new folder for everything the demo makes; None uses one that is removed.
        plain: Lines instead of the live view.
        picture: Where the history of the screen goes as SVG, or None.

    Returns:
        0 when the whole road held, 1 when any of it did not.

    Raises:
        InvalidRequest: ``keep`` holds something already.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise InvalidRequest(f"{keep} is not empty", next_step="name a new folder", effect="Nothing was started.")
    place = tempfile.TemporaryDirectory(prefix="rgt-demo-") if keep is None else nullcontext(str(keep))
    report = Report()
    console = Console()
    began = time.monotonic()
    screen = Screen(plain=plain, console=console)
    with place as folder, screen:
        try:
            anyio.run(_play, Path(folder).absolute(), report, screen)
        except* RgtError as group:
            report.failures.extend(str(error) for error in _leaves(group))
        except* TimeoutError:
            report.failures.append(f"it took longer than {AT_MOST_S:.0f} s")
    report.seconds = round(time.monotonic() - began, 2)
    report.judge()
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if picture is not None:
        picture.write_text(screen.picture(), encoding="utf-8")
    _conclude(report, console, keep)
    return 1 if report.failures else 0


async def _play(folder: Path, report: Report, screen: Screen) -> None:
    with anyio.fail_after(AT_MOST_S):
        with emulator(folder / "market", seed=SEED, speed=SPEED) as ready:
            env = _environment(folder, ready)
            road = Road(report, screen, Control(ready))
            screen.say(f"an emulated vast.ai listens on {ready.url}; the server and this client are separate processes")
            async with connected(env, report, screen, person=None) as alone:
                await road.rent(alone)
                await road.train(alone)
                await road.bring_home(alone)
                screen.say("now try to destroy it without a person's consent", style="magenta")
                await road.refused_without_person(alone)
            person = StandIn()
            async with connected(env, report, screen, person=person) as asking:
                await road.refused_after_change(asking, person)
                await road.end(asking)


def _environment(folder: Path, ready: Ready) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "RGT_HOME": str(home / "rgt"),
        "VAST_URL": ready.url,
        "VAST_API_KEY": ready.api_key,
    }


def _leaves(group: BaseExceptionGroup[RgtError]) -> list[RgtError]:
    found: list[RgtError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _conclude(report: Report, console: Console, keep: Path | None) -> None:
    console.print()
    if report.failures:
        console.print("[bold red]The road did not hold:[/]")
        for one in report.failures:
            console.print(f"  - {one}", markup=False, highlight=False)
        return
    refused = ", ".join(one.attempt for one in report.refusals)
    console.print(
        f"Preempted after step {report.preempted_at_step}, resumed from step {report.resumed_from_step}, finished "
        f"{report.final_step}; test accuracy {report.test_accuracy:.3f}. {report.files_verified} files came home, each "
        f"at least {report.lowest_level}. Refused: {refused}. Destroyed after consent ({report.consent}); the meter "
        f"rests at ${report.meter_usd_per_hour_after:.2f}/h, ${report.cost_usd:.4f} spent. {report.seconds:.0f} s on "
        f"{platform.system()} with {os.cpu_count()} cores.",
        highlight=False,
    )
    if keep is not None:
        console.print(f"Everything is in {keep}.", highlight=False)
