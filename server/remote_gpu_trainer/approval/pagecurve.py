"""The loss curve of a run, from the metrics file in the proven copy. It proves nothing; it reminds the reader."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from remote_gpu_trainer.domain.plans import Evidence, ProvenFile

MOST_BYTES = 16 << 20
"""Of a metrics file; a longer one is not drawn, and the page says so."""

MOST_POINTS = 400
"""Drawn per line: the least and the greatest of each stretch, so that no spike is smoothed away."""

_LOSSES = ("loss", "train_loss", "training_loss", "eval_loss", "val_loss", "valid_loss", "validation_loss", "test_loss")
_ABSURD = 1e100
"""From here on a number is counted as not finite: no picture has room for it."""

_STEPS = ("step", "global_step", "iteration", "iter", "epoch")
_NAMES = ("metrics", "log", "history", "trainer_state", "progress")
_ENDINGS = (".jsonl", ".ndjson", ".csv", ".json")


@dataclass(frozen=True)
class Line:
    """One loss over the steps, all of it finite."""

    name: str
    points: tuple[tuple[float, float], ...]
    not_finite: int

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]

    @property
    def least(self) -> float:
        """The lowest value."""
        return min(y for _, y in self.points)


@dataclass(frozen=True)
class Curve:
    """What a metrics file says, or why nothing is drawn."""

    source: str
    """The file, by its path in the copy; not made visible."""
    lines: tuple[Line, ...]
    problem: str = ""


def curve_of(evidence: Iterable[Evidence]) -> Curve | None:
    """The curve of the first metrics file among the proven ones; None when there is none.

    The file is read from the person's disk and only drawn while it still has the digest that was proven. Reading ends
    at ``MOST_BYTES``; nothing that it holds is taken for anything but numbers.
    """
    for one in evidence:
        ranked = [(rank, file.path, file) for file in one.files if (rank := _rank(file.path)) is not None]
        if ranked:
            return _read(one, min(ranked, key=lambda item: item[:2])[2])
    return None


def _rank(path: str) -> int | None:
    name = PurePosixPath(path)
    if name.suffix.lower() not in _ENDINGS:
        return None
    stem = name.stem.lower()
    return next((place for place, word in enumerate(_NAMES) if stem.startswith(word) or stem.endswith(word)), None)


def _read(evidence: Evidence, file: ProvenFile) -> Curve:
    if "://" in evidence.destination:
        return Curve(file.path, (), "it lies in a bucket, which this page does not read")
    if file.size > MOST_BYTES:
        return Curve(file.path, (), "it is too large to be drawn")
    root = Path(evidence.destination)
    try:
        place = (root / file.path).resolve(strict=True)
        if not place.is_relative_to(root.resolve()):
            return Curve(file.path, (), "it does not lie in the copy")
        with place.open("rb") as source:
            content = source.read(MOST_BYTES + 1)
    except (OSError, ValueError):
        return Curve(file.path, (), "it cannot be read any more")
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return Curve(file.path, (), "it is not the file that was proven any more")
    lines = tuple(_lines(_rows(content.decode("utf-8", "replace"), PurePosixPath(file.path).suffix.lower())))
    return Curve(file.path, lines, "" if lines else "no loss was found in it")


def _rows(text: str, ending: str) -> Iterator[Mapping[str, object]]:
    if ending == ".csv":
        try:
            yield from csv.DictReader(io.StringIO(text))
        except csv.Error:
            return
        return
    if ending == ".json":
        whole = _parsed(text)
        if isinstance(whole, dict):
            whole = cast(dict[str, object], whole).get("log_history")
        rows = cast(list[object], whole) if isinstance(whole, list) else []
    else:
        rows = [_parsed(line) for line in text.splitlines()]
    for row in rows:
        if isinstance(row, dict):
            yield cast(dict[str, object], row)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(rows: Iterable[Mapping[str, object]]) -> Iterator[Line]:
    found: dict[str, list[tuple[float, float]]] = {}
    wrong: dict[str, int] = {}
    for number, row in enumerate(rows):
        step = next((x for name in _STEPS if (x := _number(row.get(name))) is not None and abs(x) < _ABSURD), None)
        for name in _LOSSES:
            value = _number(row.get(name))
            if value is None:
                continue
            if abs(value) < _ABSURD:  # NaN is not
                found.setdefault(name, []).append((float(number) if step is None else step, value))
            else:
                wrong[name] = wrong.get(name, 0) + 1
    for name, points in found.items():
        yield Line(name, tuple(_thinned(points)), wrong.get(name, 0))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MOST_POINTS:
        return points
    stretch = math.ceil(2 * len(points) / MOST_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points) - 1, stretch):
        part = points[start : start + stretch]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept.extend(point for point in part if point in ends)
    return [*kept, points[-1]] if kept[-1] != points[-1] else kept
