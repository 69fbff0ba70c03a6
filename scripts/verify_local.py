"""Prove local results from a shell: whole, loadable, as expected. To be run where the package is installed.

    python scripts/verify_local.py PATH [--manifest receipt.json] [--expect expect.json] [--min-level LOADS] [--json]

Exit status: 0 when everything is proven to that level, 1 when something is not, 2 when nothing could be judged.
"""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import anyio
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import (
    Expectations,
    Manifest,
    VerificationLevel,
    VerificationReport,
)
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.verify.run import verify


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file: of a copy's receipt, or bare."""
    raw: Any = json.loads(path.read_text())
    if not isinstance(raw, dict):
        raise ValueError(f"{path} holds no manifest")
    receipt = cast(dict[str, object], raw)
    return Manifest.model_validate_json(json.dumps(receipt.get("manifest", receipt)))


def read_expectations(path: Path) -> Expectations:
    """The expectations in a file, in the words of the tool ``verify_local``: a level by its name."""
    raw: Any = json.loads(path.read_text())
    if not isinstance(raw, dict):
        raise ValueError(f"{path} holds no expectations")
    fields = cast(dict[str, object], raw)
    level = fields.get("min_level")
    if isinstance(level, str):
        if level not in VerificationLevel.__members__:
            raise ValueError(f"{level[:40]!r} in {path} is no level: {', '.join(VerificationLevel.__members__)}")
        fields["min_level"] = VerificationLevel[level].value
    return Expectations.model_validate_json(json.dumps(fields))


def tell(report: VerificationReport, console: Console) -> None:
    """A table of files, then what is missing or does not hold."""
    table = Table("file", "bytes", "level", "format", "findings", title=Text(report.destination))
    for proof in report.files:
        findings = "\n".join(f"{finding.severity}: {finding.message}" for finding in proof.findings)
        cells = (proof.path, f"{proof.size:,}", proof.level.name, proof.format or "-", findings)
        table.add_row(*(Text(cell.encode("ascii", "backslashreplace").decode()) for cell in cells))
    console.print(table)
    for name in report.missing:
        console.print(Text(f"missing: {name!r}"))
    for sentence in report.unmet:
        console.print(Text(f"does not hold: {sentence}"))


def main(
    path: Path,
    manifest: Annotated[Path | None, typer.Option(help="A copy's receipt or its manifest, as JSON.")] = None,
    expect: Annotated[Path | None, typer.Option(help="Expectations, as JSON.")] = None,
    min_level: Annotated[str, typer.Option(help="Least level of every file.")] = "DIGEST",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Verify a file or folder; nothing is changed."""
    try:
        least = VerificationLevel[min_level.upper()]
        promised = read_manifest(manifest) if manifest else None
        wanted = read_expectations(expect) if expect else None

        async def go() -> VerificationReport:
            return await verify(path, manifest=promised, expect=wanted, copy_id=None, clock=SystemClock())

        report = anyio.run(go)
    except KeyError as error:
        typer.echo(f"{min_level!r} is no level; the levels are {', '.join(VerificationLevel.__members__)}.", err=True)
        raise typer.Exit(2) from error
    except (RgtError, OSError, ValueError, ValidationError) as error:
        typer.echo(f"Nothing was judged: {error}", err=True)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        tell(report, Console())
    lowest = report.lowest_level
    raise typer.Exit(0 if report.passed and lowest is not None and lowest >= least else 1)


if __name__ == "__main__":
    typer.run(main)
