"""Where runs and money stand, without an agent."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from remote_gpu_trainer.services.container import Services

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="JSON for a script.")]


def status(
    run: Annotated[str | None, typer.Argument(help="Run name or instance id; none shows all that are held.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show runs: phase, cause, next step, cost."""
    from rich.console import Console
    from rich.table import Table

    from remote_gpu_trainer.tools import answers

    views = answers.runs(_ask(lambda services: services.watch.status(run)))
    if as_json:
        typer.echo(views.model_dump_json(indent=2))
        return
    table = Table("run", "phase", "machine", "job", "step", "$/h now", "spent", "next step")
    for one in views.runs:
        table.add_row(
            one.run,
            one.phase,
            f"{one.instance_id or '-'} {one.instance_phase or 'not shown'}",
            one.job or "-",
            "-" if one.job_step is None else str(one.job_step),
            "?" if one.usd_per_hour_now is None else f"{one.usd_per_hour_now:.4f}",
            f"${one.spent_usd:.4f}",
            one.next_step,
        )
    console = Console()
    console.print(table if views.runs else "No run is held.")
    for one in views.runs:
        for note in one.notes:
            console.print(f"{one.run}: {note}", markup=False)


def spend(as_json: AsJson = False) -> None:
    """Show the money: credit, burn, runs, and all that still bills."""
    from rich.console import Console
    from rich.table import Table

    from remote_gpu_trainer.tools import balance

    money = balance.spend(_ask(lambda services: services.spend.report()))
    if as_json:
        typer.echo(money.model_dump_json(indent=2))
        return
    console = Console()
    runway = "" if money.runway_hours is None else f", enough for {money.runway_hours:.1f} h"
    console.print(
        f"Credit ${money.credit_usd:.2f}{runway}; burning ${money.burn_usd_per_hour:.4f} an hour"
        f"{'' if money.burn_complete else ' at least'}; today ${money.spent_today_usd:.4f}, "
        f"${money.left_today_usd:.2f} left under the policy"
    )
    table = Table("run", "phase", "spent", "$/h now", "work at risk", "billed - counted")
    for one in money.runs:
        risk = "-"
        if one.work_at_risk_minutes is not None:
            risk = f"{one.work_at_risk_minutes:.0f} min, ${one.work_at_risk_usd or 0.0:.2f}"
        price = "?" if one.usd_per_hour_now is None else f"{one.usd_per_hour_now:.4f}"
        billed, counted = ("unknown" if usd is None else f"${usd:.4f}" for usd in (one.billed_usd, one.counted_usd))
        compared = f"{billed} - {counted}"
        if one.difference_usd is not None:
            compared += f" = {'-' if one.difference_usd < 0 else ''}${abs(one.difference_usd):.4f}"
        table.add_row(one.run, one.phase, f"${one.spent_usd:.4f}", price, risk, compared)
    if money.runs:
        console.print(table)
    console.print(money.comparison, markup=False)
    for reminder in money.reminders:
        console.print(f"due: {reminder}", markup=False)
    for line in (*money.volumes, *money.orphans):
        console.print(f"also bills: {line}", markup=False)


def reconcile(as_json: AsJson = False) -> None:
    """Compare the journal with the account, and settle what was left open."""
    report = _ask(lambda services: services.reconcile.reconcile())
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    found = {
        "adopted": report.adopted,
        "never was": report.never_was,
        "closed": report.closed,
        "reappeared": report.reappeared,
        "undecided": report.undecided,
        "not ours": tuple(str(one.instance_id) for one in report.orphans),
    }
    for name, runs in found.items():
        if runs:
            typer.echo(f"{name}: {', '.join(runs)}")
    typer.echo("The account was read whole." if report.complete else "The account was not read whole: nothing closed.")


def _ask(question: "Callable[[Services], Awaitable[T]]") -> T:
    import os

    import anyio

    from remote_gpu_trainer import settings
    from remote_gpu_trainer.app import compose

    async def run() -> T:
        services = compose(settings.load(os.environ))
        try:
            return await question(services)
        finally:
            await services.aclose()

    return anyio.run(run)
