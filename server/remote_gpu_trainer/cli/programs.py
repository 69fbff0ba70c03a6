"""The long-running commands: the server, the emulator, the demo."""

from pathlib import Path
from typing import Annotated

import typer

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


def serve(
    http: Annotated[
        int | None, typer.Option("--http", help="Serve streamable HTTP on this loopback port instead of stdio.")
    ] = None,
) -> None:
    """Serve the tools to an agent, over standard input and output."""
    import os

    from remote_gpu_trainer import settings
    from remote_gpu_trainer.app import compose
    from remote_gpu_trainer.cli.serving import run

    run(compose(settings.load(os.environ)), http_port=http)


def emulator(context: typer.Context) -> None:
    """Run a vast.ai of your own on this computer; see `rgt emulator --help`."""
    from remote_gpu_trainer.emulator.__main__ import main

    raise typer.Exit(main(context.args))


def demo(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a report of every step here.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep everything that the demo makes in this new folder.")] = None,
    plain: Annotated[bool, typer.Option(help="Lines instead of the live view.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write the final view as an SVG picture.")] = None,
) -> None:
    """Play the whole road on this computer: no account, no GPU, no bill."""
    from remote_gpu_trainer.demo.run import run_demo

    raise typer.Exit(run_demo(json_file=json_file, keep=keep, plain=plain, picture=picture))
