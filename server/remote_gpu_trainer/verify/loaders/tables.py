"""CSV: every row read, its width held against the first row's, a cut tail named."""

import csv
from collections.abc import Iterator

from remote_gpu_trainer.verify.loaders.jsonl import lines_of
from remote_gpu_trainer.verify.loaders.jsontext import tell_numbers
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source


def load_csv(source: Source) -> Outcome:
    """Read a table with a header row; tabs separate where the header holds one.

    Raises:
        BrokenArtifact: it is not UTF-8 or not CSV.
    """
    outcome = Outcome()
    separator = "\t" if b"\t" in source.read(0, min(source.size, 65536)).split(b"\n", 1)[0] else ","
    header: list[str] = []
    last: list[str] = []
    rows = ragged = 0
    try:
        for row in csv.reader(_text(source), delimiter=separator, strict=True):
            if not header:
                header = row
                continue
            rows += 1
            ragged += len(row) != len(header)
            last = row
    except csv.Error as error:
        raise BrokenArtifact("not-csv", f"row {rows + 2} is not CSV: {str(error)[:120]}") from error
    if source.size and source.read(source.size - 1, 1) != b"\n":
        outcome.note("no-final-newline", "its last row has no line end, and may be cut")
    if ragged:
        outcome.warn("ragged", f"{ragged} of {rows} rows are not as wide as the {len(header)} columns of the header")
    if not rows:
        outcome.warn("empty", "it holds no row")
    outcome.facts.update(rows=rows, columns=len(header))
    cells = ((name, _number(cell)) for name, cell in zip(header, last, strict=False) if 0 < len(name) <= 200)
    tell_numbers({name: number for name, number in list(cells)[:1000] if number is not None}, outcome)
    return outcome


def _text(source: Source) -> Iterator[str]:
    for number, line, ended in lines_of(source):
        try:
            yield line.decode("utf-8") + ("\n" if ended else "")
        except UnicodeDecodeError as error:
            raise BrokenArtifact("not-utf8", f"line {number} is not UTF-8") from error


def _number(cell: str) -> float | None:
    try:
        return float(cell) if len(cell) <= 40 else None
    except ValueError:
        return None
