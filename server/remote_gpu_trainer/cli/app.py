"""All commands under one name."""

from importlib.metadata import version

import typer

from remote_gpu_trainer.cli import approvals, checks, keys, money, preapprove, programs, secrets, skill, watching

app = typer.Typer(
    name="rgt",
    help="Rent a vast.ai GPU, train through preemptions, bring home, prove, ask, destroy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(programs.serve)
app.command("demo")(programs.demo)
app.command("emulator", context_settings=programs.PASS_ON, add_help_option=False)(programs.emulator)
app.command("approve")(approvals.approve)
app.command("decline")(approvals.decline)
app.command("preapprove")(preapprove.preapprove)
app.command("status")(money.status)
app.command("watch")(watching.watch)
app.command("spend")(money.spend)
app.command("reconcile")(money.reconcile)
app.command("doctor")(checks.doctor)
app.add_typer(checks.policy_app, name="policy")
app.add_typer(secrets.app, name="secret")
app.add_typer(keys.app, name="keys")
app.add_typer(skill.app, name="skill")


@app.command("version")
def show_version() -> None:
    """Print the version."""
    typer.echo(version("remote-gpu-trainer"))
