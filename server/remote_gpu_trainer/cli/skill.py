"""Putting the skill where an agent finds it."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

NAME = "remote-gpu-trainer"
PARTS = ("profiles", "references", "scripts")
TARGETS = {"claude": "~/.claude/skills", "codex": "~/.codex/skills"}

app = typer.Typer(help="The Agent Skill that teaches the road.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def install(
    target: Annotated[str, typer.Option(help="claude, codex, or the folder that holds skills.")] = "claude",
) -> None:
    """Write the skill's folder into an agent's skills."""
    typer.echo(assemble(Path(TARGETS.get(target, target)).expanduser()))


@app.command()
def build(out: Annotated[Path, typer.Option(help="Where the folder goes.")] = Path("dist")) -> None:
    """Write the skill's self-contained folder."""
    typer.echo(assemble(out))


def assemble(parent: Path) -> Path:
    """The folder ``remote-gpu-trainer`` under a parent, whole or not at all; an older one of ours is replaced.

    Raises:
        InvalidRequest: something else is there under that name.
    """
    from remote_gpu_trainer import bundled
    from remote_gpu_trainer.errors import InvalidRequest

    folder, fresh = parent / NAME, parent / f".{NAME}.new"
    if folder.exists() and not (folder / "SKILL.md").is_file():
        raise InvalidRequest(
            f"{folder} is there and is no skill", next_step="move it away", effect="It was not touched."
        )
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(bundled.path("skill"), fresh, ignore=ignored)
    for part in PARTS:
        shutil.copytree(bundled.path(part), fresh / part, ignore=ignored)
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)
    return folder
