"""Secrets that runs may be given by name, kept in the operating system's keyring."""

import re
from typing import Annotated

import typer

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
Name = Annotated[str, typer.Argument(help="As the job reads it from its environment, for example HF_TOKEN.")]

app = typer.Typer(help="Secrets for jobs, by name.", no_args_is_help=True, rich_markup_mode=None)


@app.command("set")
def keep(name: Name) -> None:
    """Ask for a value, without showing it, and keep it in the keyring."""
    from remote_gpu_trainer.secretstore import into_keyring

    _checked(name)
    value: str = typer.prompt(f"value of {name}", hide_input=True)
    typer.echo(f"{name} is kept in {into_keyring(name, value.strip())}")


@app.command("check")
def check(name: Name) -> None:
    """Say where a secret would be taken from; never its value."""
    import os

    from remote_gpu_trainer.secretstore import from_keyring
    from remote_gpu_trainer.settings import SECRET_PREFIX

    _checked(name)
    if os.environ.get(f"{SECRET_PREFIX}{name}"):
        typer.echo(f"{name}: from {SECRET_PREFIX}{name} in this environment")
    elif from_keyring(name):
        typer.echo(f"{name}: from the keyring")
    else:
        typer.echo(f"{name}: neither in {SECRET_PREFIX}{name} nor in a keyring")
        raise typer.Exit(1)


def _checked(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise typer.BadParameter("a name holds letters, digits and underscores, and begins with no digit")
