"""Is it set up as you think it is?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from remote_gpu_trainer.settings import Settings
    from remote_gpu_trainer.vastai.shape import ShapeFinding

policy_app = typer.Typer(help="The person's limits.", no_args_is_help=True, rich_markup_mode=None)


@policy_app.command("check")
def check(file: Annotated[Path | None, typer.Argument(help="None checks the one in use.")] = None) -> None:
    """Read a policy.toml and say whether it is one."""
    from remote_gpu_trainer.errors import ConfigError
    from remote_gpu_trainer.settings import load_policy

    place = file or _policy_file()
    if file is not None and not file.exists():
        raise ConfigError(f"{file} does not exist", effect="Nothing was checked.")
    policy = load_policy(place)
    typer.echo(f"{place}: {'good' if place.exists() else 'not there, so the defaults hold'}")
    total = "" if policy.max_usd_total is None else f", ${policy.max_usd_total:g} in all (never asked about)"
    typer.echo(
        f"at most ${policy.max_usd_per_hour:g} an hour, ${policy.max_usd_per_run:g} a run, "
        f"${policy.max_usd_per_day:g} a day{total}, {policy.max_instances} instances; above the first three a person "
        f"is {'asked' if policy.over_caps == 'ask' else 'not asked: it is refused'}"
    )
    typer.echo(f"consent to destroy: level {policy.approval_level.value}")
    for rule in policy.approval:
        typer.echo(f"consent to {rule.action} above ${rule.above_usd_per_hour:g} an hour: level {rule.level.value}")


@policy_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of policy.toml, every key with its default and meaning."""
    import json

    from remote_gpu_trainer.domain.policy import Policy

    typer.echo(json.dumps(Policy.model_json_schema(), indent=2))


@policy_app.command("show")
def show() -> None:
    """Print the policy in force, defaults included, as JSON."""
    from remote_gpu_trainer.settings import load_policy

    typer.echo(load_policy(_policy_file()).model_dump_json(indent=2))


def doctor(
    live: Annotated[bool, typer.Option("--live", help="Also ask the platform, read-only.")] = False,
) -> None:
    """Say how this is set up, and which assurance that really gives."""
    import os

    from remote_gpu_trainer import settings
    from remote_gpu_trainer.cli.setup import findings

    loaded = settings.load(os.environ)
    wrong = False
    for finding in findings(loaded):
        wrong = wrong or finding.bad
        typer.echo(f"{'WRONG' if finding.bad else 'ok   '}  {finding.text}")
    if live:
        differences = _live(loaded)
        for one in differences:
            typer.echo(
                f"WRONG  {one.endpoint} {one.field}: {one.problem.value}, expected {one.expected}, saw {one.seen}"
            )
        if not differences:
            typer.echo(f"ok     {loaded.base_url} answers in the shape that this version reads")
        wrong = wrong or bool(differences)
    raise typer.Exit(1 if wrong else 0)


def _live(loaded: "Settings") -> "list[ShapeFinding]":
    import anyio

    from remote_gpu_trainer.clock import SystemClock
    from remote_gpu_trainer.vastai.client import VastClient
    from remote_gpu_trainer.vastai.shape import compare_shapes

    async def ask() -> "list[ShapeFinding]":
        client = VastClient(loaded.base_url, loaded.require_key(), clock=SystemClock())
        try:
            return await compare_shapes(client)
        finally:
            await client.aclose()

    return anyio.run(ask)


def _policy_file() -> Path:
    import os

    from remote_gpu_trainer import settings

    return settings.load(os.environ).home / settings.POLICY_FILE
