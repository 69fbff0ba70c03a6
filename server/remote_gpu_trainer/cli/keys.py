"""The person's keys: one that cannot destroy for the agent, the destroying one sealed, and security keys pinned."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from remote_gpu_trainer.settings import Settings
    from remote_gpu_trainer.vastai.client import VastClient
    from remote_gpu_trainer.vastai.keys import Tried

T = TypeVar("T")

app = typer.Typer(help="Keys that cannot be used without you.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def setup(
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="You made the scoped key in the platform's console yourself.")
    ] = False,
) -> None:
    """The same as rgt approve --enroll sealed: a key that cannot destroy for the agent's server, the other one sealed.

    It reads keys and passphrase from your terminal only, never from a pipe.
    """
    from remote_gpu_trainer.approval.anchors import write_sealed
    from remote_gpu_trainer.approval.terminal import NOT_REGISTERED, ask_passphrase
    from remote_gpu_trainer.database.file import private_folder
    from remote_gpu_trainer.errors import ConfigError

    settings = _settings()
    full = ask_passphrase("API key that may destroy (empty: the one in use now): ", effect=NOT_REGISTERED)
    full = full or settings.require_key()
    account = _ask(settings, full, _account)
    if all(one.refused for one in _ask(settings, full, _tried_to_destroy)):
        raise ConfigError(
            "this key cannot destroy, so there is nothing to seal",
            next_step="give the account's full key, from the platform's console",
            effect="Nothing was changed.",
        )
    scoped = (
        ask_passphrase("The scoped key that you made: ", effect=NOT_REGISTERED) if by_hand else _made(settings, full)
    )
    may = [one.what for one in _ask(settings, scoped, _tried) if not one.refused]
    if may:
        raise ConfigError(
            f"the scoped key is not provably refused: {', '.join(may)}",
            next_step="make one by hand that leaves these out, and run rgt approve --enroll sealed --by-hand",
            effect="Nothing was sealed, and the key in use was not changed.",
        )
    first = ask_passphrase(
        "New passphrase for the destroying key (12 characters or more, five random words): ", effect=NOT_REGISTERED
    )
    if ask_passphrase("The same again: ", effect=NOT_REGISTERED) != first:
        raise ConfigError("the two passphrases differ", effect="Nothing was sealed.")
    private_folder(settings.home)
    sealed = write_sealed(settings.home, full, first, account_id=account)
    typer.echo(f"Sealed the destroying key of account {account} in {sealed}.")
    _replace_key(settings, scoped)
    typer.echo('Now put approval_level = "sealed" into policy.toml, and run rgt keys check.')


@app.command()
def check() -> None:
    """Try, on things that do not exist, whether the key in use could destroy. Exit status 1 when it could."""
    settings = _settings()
    found = _ask(settings, settings.require_key(), _tried)
    for one in found:
        typer.echo(f"{'refused' if one.refused else 'MAY    '}  {one.what}: {one.seen}")
    raise typer.Exit(0 if all(one.refused for one in found) else 1)


@app.command()
def pin(
    public_key: Annotated[Path, typer.Argument(help="The .pub file of a security key (ssh-keygen -t ed25519-sk).")],
    name: Annotated[str, typer.Option(help="Whose it is: letters, digits and _.")] = "me",
) -> None:
    """Pin a security key, so that its signature, with touch and PIN, counts as level hardware."""
    from remote_gpu_trainer.approval.anchors import SIGNERS_FILE, pin_signer
    from remote_gpu_trainer.approval.terminal import confirm_on_terminal
    from remote_gpu_trainer.database.file import private_folder
    from remote_gpu_trainer.errors import InvalidRequest

    try:
        content = public_key.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidRequest(f"{public_key} cannot be read: {problem}", effect="Nothing was registered.") from problem
    home = _settings().home
    confirm_on_terminal(f"Whoever holds this key may then approve destroying. Type {name} to pin it: ", name)
    private_folder(home)
    signer = pin_signer(home, content, name=name)
    typer.echo(f"Pinned {signer.fingerprint} for {name} in {home / SIGNERS_FILE}; remove its line to take that back.")


def _settings() -> "Settings":
    import os

    from remote_gpu_trainer import settings

    return settings.load(os.environ)


def _made(settings: "Settings", full: str) -> str:
    import json

    from remote_gpu_trainer.errors import ConfigError, MarketError
    from remote_gpu_trainer.vastai.keys import AGENT_PERMISSIONS, make_scoped_key

    async def make(client: "VastClient") -> str:
        return await make_scoped_key(client, name="rgt-agent")

    try:
        return _ask(settings, full, make)
    except MarketError as refused:
        raise ConfigError(
            f"the platform made no scoped key: {refused.message}. The permissions that it needs: "
            f"{json.dumps(dict(AGENT_PERMISSIONS))}",
            next_step="make a key with these in the platform's console, then run rgt approve --enroll sealed --by-hand",
            effect="Nothing was sealed.",
        ) from refused


def _replace_key(settings: "Settings", scoped: str) -> None:
    """Put the scoped key where the full one lay in the clear: sealing what also lies there open guards nothing."""
    import os
    import secrets

    from remote_gpu_trainer.approval.keyfile import write_private

    file = settings.key_file
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    write_private(draft, f"{scoped}\n".encode())
    os.replace(draft, file)
    typer.echo(f"{file} now holds the scoped key; the full one is only in the sealed file.")
    if os.environ.get("VAST_API_KEY"):
        typer.echo("WRONG  VAST_API_KEY is set and wins over that file: unset it wherever the agent's server starts")
    typer.echo("Remove other copies of the full key from this computer: shell history, .env files, other tools.")


async def _account(client: "VastClient") -> int:
    return (await client.account()).id


async def _tried_to_destroy(client: "VastClient") -> "list[Tried]":
    from remote_gpu_trainer.vastai.keys import tried

    return await tried(client, destroy_only=True)


async def _tried(client: "VastClient") -> "list[Tried]":
    from remote_gpu_trainer.vastai.keys import tried

    return await tried(client)


def _ask(settings: "Settings", key: str, question: "Callable[[VastClient], Awaitable[T]]") -> T:
    import anyio

    from remote_gpu_trainer.clock import SystemClock
    from remote_gpu_trainer.vastai.client import VastClient

    async def run() -> T:
        client = VastClient(settings.base_url, key, clock=SystemClock())
        try:
            return await question(client)
        finally:
            await client.aclose()

    return anyio.run(run)
