"""Prove local results from a shell: whole, loadable, as expected. To be run where the package is installed.

    python scripts/verify_local.py PATH [--manifest receipt.json] [--expect expect.json] [--min-level LOADS] [--json]

Exit status: 0 when everything is proven to that level, 1 when something is not, 2 when nothing could be judged. With
``--json`` that is an object as well: ``{"proven": null, "error": "..."}``.
"""

import os
import sys

_BY_ACCIDENT = {"", "."}.intersection(os.environ.get("PYTHONPATH", "-").split(os.pathsep))
# An empty part of PYTHONPATH means the folder one stands in, where a stranger's json.py may lie.
sys.path[:] = [path for path in sys.path if not _BY_ACCIDENT or path not in {"", ".", os.getcwd()}]

try:
    import json
    from collections import Counter
    from pathlib import Path
    from typing import Annotated, Any, NoReturn, cast

    import anyio
    import typer
    from pydantic import ValidationError
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from remote_gpu_trainer.clock import SystemClock
    from remote_gpu_trainer.domain.artifacts import (
        Expectations,
        Manifest,
        Severity,
        VerificationLevel,
        VerificationReport,
    )
    from remote_gpu_trainer.errors import RgtError
    from remote_gpu_trainer.verify.run import verify
except ModuleNotFoundError as absent:
    sys.stderr.write(
        f"Nothing was judged: {absent.name} is not installed for {sys.executable}.\n"
        "Run this with the Python for which remote-gpu-trainer is installed, for example .venv/bin/python.\n"
    )
    sys.exit(2)


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


def tell(report: VerificationReport, least: VerificationLevel, console: Console) -> None:
    """A table of files, then what is missing or does not hold, and the verdict as the last line."""
    name, findings = Column("file", overflow="fold"), Column("findings", overflow="fold")
    table = Table(name, "bytes", "level", "format", findings, title=_plain(report.destination))
    for proof in report.files:
        lines = "\n".join(f"{finding.severity} {finding.code}: {finding.message}" for finding in proof.findings)
        cells = (proof.path, f"{proof.size:,}", proof.level.name, proof.format or "-", lines)
        table.add_row(*(_plain(cell) for cell in cells))
    console.print(table)
    for path in report.missing:
        console.print(_plain(f"missing: {path!r}"), soft_wrap=True)
    for sentence in report.unmet:
        console.print(_plain(f"does not hold: {sentence}"), soft_wrap=True)
    console.print(_plain(verdict(report, least)), soft_wrap=True)


def _plain(text: str) -> Text:
    return Text(text.encode("ascii", "backslashreplace").decode())


def verdict(report: VerificationReport, least: VerificationLevel) -> str:
    """One line: whether it is proven, and if not how much stands in the way."""
    levels = Counter(proof.level for proof in report.files)
    counts = ", ".join(f"{levels[level]} {level.name}" for level in sorted(levels, reverse=True)) or "none"
    files = f"{len(report.files)} files ({counts})"
    low = sum(count for level, count in levels.items() if level < least)
    reasons = [
        f"{count} {what}"
        for count, what in (
            (len(report.errors), "errors"),
            (len(report.missing), "missing"),
            (len(report.unmet), "expectations that do not hold"),
            (low, f"files below {least.name}"),
        )
        if count
    ]
    if not report.files and not reasons:
        reasons = ["there is no file"]
    warnings = sum(finding.severity is Severity.WARNING for proof in report.files for finding in proof.findings)
    files += f"; {warnings} warnings to read" if warnings else ""
    return f"NOT PROVEN: {', '.join(reasons)}; {files}." if reasons else f"Proven to {least.name}: {files}."


def as_object(report: VerificationReport, *, proven: bool) -> str:
    """The report as JSON, with its levels by name."""
    lowest = report.lowest_level
    told: dict[str, Any] = report.model_dump(mode="json")
    for file, proof in zip(told["files"], report.files, strict=True):
        file["level"] = proof.level.name
    head = {"proven": proven, "passed": report.passed, "lowest_level": lowest and lowest.name, "errors": report.errors}
    return json.dumps({**head, **told}, indent=2)


def main(
    path: Path,
    manifest: Annotated[Path | None, typer.Option(help="A copy's receipt or its manifest, as JSON.")] = None,
    expect: Annotated[Path | None, typer.Option(help="Expectations, as JSON.")] = None,
    min_level: Annotated[str, typer.Option(help="Least level of every file.")] = "DIGEST",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Verify a file or folder; nothing is changed."""
    if min_level.upper() not in VerificationLevel.__members__:
        _unjudged(f"{min_level!r} is no level; the levels are {', '.join(VerificationLevel.__members__)}.", as_json)
    least = VerificationLevel[min_level.upper()]
    try:
        promised = read_manifest(manifest) if manifest else None
        wanted = read_expectations(expect) if expect else None

        async def go() -> VerificationReport:
            return await verify(path, manifest=promised, expect=wanted, copy_id=None, clock=SystemClock())

        report = anyio.run(go)
    except (RgtError, OSError, ValueError, ValidationError) as error:
        _unjudged(str(error), as_json)
    except KeyboardInterrupt:
        _unjudged("it was interrupted", as_json)
    lowest = report.lowest_level
    proven = report.passed and lowest is not None and lowest >= least
    if as_json:
        typer.echo(as_object(report, proven=proven))
    else:
        tell(report, least, Console())
    raise typer.Exit(0 if proven else 1)


def _unjudged(reason: str, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"proven": None, "error": reason}))
    typer.echo(f"Nothing was judged: {reason}", err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    typer.run(main)
