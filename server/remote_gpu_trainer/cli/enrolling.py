"""Registering a person's factors: one door for all of them, in a terminal that they sit at."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from remote_gpu_trainer.settings import Settings

PASSKEY, SECURITY_KEY, SEALED = FACTORS = ("passkey", "security-key", "sealed")
"""What a person can register: a passkey on a local page, a security key that signs over SSH's protocol, and a
destroying key under a passphrase."""
USUAL_NAME = "me"
PASSKEY_PAGE_S = 600.0
"""How long the page that registers a passkey waits."""


def register(factor: str | None, *, key: Path | None, name: str | None, by_hand: bool) -> None:
    """Register a factor of the person. Without one, what is registered is listed, and they are asked which to add.

    Raises:
        InvalidRequest: there is no such factor, or an option belongs to another one.
        ConsentError: nobody sits at a terminal.
    """
    from remote_gpu_trainer.approval.terminal import ask_to_register
    from remote_gpu_trainer.cli import keys

    if factor is None:
        factor = ask_to_register(_which(_settings())).strip()
    if not factor:
        typer.echo("Nothing was added.")
        return
    _see_that_they_belong_together(factor, key=key, name=name, by_hand=by_hand)
    if factor == PASSKEY:
        _register_passkey()
    elif factor == SECURITY_KEY:
        keys.pin(key or Path(ask_to_register("Path of its .pub file: ").strip()), name or USUAL_NAME)
    else:
        keys.setup(by_hand)


@contextmanager
def announcing(effect: str) -> "Generator[Callable[[str], None]]":
    """Says an address where only the person reads: on their terminal, never on a pipe.

    Args:
        effect: What did not happen, where there is no terminal.
    """
    from remote_gpu_trainer.approval.terminal import controlling_terminal

    with controlling_terminal(effect=effect) as (_, screen):

        def announce(address: str) -> None:
            screen.write(f"Open this address, once, in your own browser:\n\n    {address}\n\n")
            screen.flush()

        yield announce


def _which(settings: "Settings") -> str:
    """What is registered, and the question what to add."""
    return (
        f"Registered in {settings.home}:\n"
        f"  {PASSKEY}: {_listed(_passkeys, settings)}\n"
        f"  {SECURITY_KEY}: {_listed(_security_keys, settings)}\n"
        f"  {SEALED}: {_listed(_sealed, settings)}\n"
        f"Which one to add? {', '.join(FACTORS)}; nothing typed adds none.\n> "
    )


def _listed(of: "Callable[[Settings], list[str]]", settings: "Settings") -> str:
    from remote_gpu_trainer.approval.visible import visible
    from remote_gpu_trainer.errors import ConfigError

    try:
        return ", ".join(visible(one) for one in of(settings)) or "none"
    except ConfigError as problem:
        return f"cannot be read: {problem}"


def _passkeys(settings: "Settings") -> list[str]:
    from remote_gpu_trainer.approval.passkeyfiles import FOLDER, load_passkeys

    return [f"{one.label} ({one.fingerprint[:16]})" for one in load_passkeys(settings.home / FOLDER)]


def _security_keys(settings: "Settings") -> list[str]:
    from remote_gpu_trainer.approval.anchors import pinned_signers

    return [one.title for one in pinned_signers(settings.home)]


def _sealed(settings: "Settings") -> list[str]:
    from remote_gpu_trainer.approval.anchors import sealed_purpose

    purpose = sealed_purpose(settings.home)
    return [] if purpose is None else [purpose]


def _see_that_they_belong_together(factor: str, *, key: Path | None, name: str | None, by_hand: bool) -> None:
    from remote_gpu_trainer.approval.terminal import NOT_REGISTERED
    from remote_gpu_trainer.errors import InvalidRequest

    wrong = None
    if factor not in FACTORS:
        wrong = f"{factor[:40]!r} is no factor"
    elif by_hand and factor != SEALED:
        wrong = f"--by-hand belongs to {SEALED}, not to {factor}"
    elif factor != SECURITY_KEY and not (key is None and name is None):
        wrong = f"--key and --name belong to {SECURITY_KEY}, not to {factor}"
    if wrong is not None:
        raise InvalidRequest(
            wrong,
            next_step=f"rgt approve --enroll with one of {', '.join(FACTORS)}; or with none, which asks",
            effect=NOT_REGISTERED,
        )


def _register_passkey() -> None:
    from remote_gpu_trainer.approval.pageserver import serve_enrolment
    from remote_gpu_trainer.approval.passkeyfiles import FOLDER
    from remote_gpu_trainer.approval.terminal import NOT_REGISTERED
    from remote_gpu_trainer.approval.visible import visible
    from remote_gpu_trainer.clock import SystemClock

    folder = _settings().home / FOLDER
    with announcing(NOT_REGISTERED) as announce:
        made = serve_enrolment(folder, clock=SystemClock(), announce=announce, patience_s=PASSKEY_PAGE_S)
    if made is None:
        typer.echo(f"Nobody registered a passkey within {PASSKEY_PAGE_S:.0f} s. {NOT_REGISTERED}", err=True)
        raise typer.Exit(1)
    typer.echo(f"Registered {visible(made.label)} in {folder}; remove its file there to take that back.")


def _settings() -> "Settings":
    import os

    from remote_gpu_trainer import settings

    return settings.load(os.environ)
