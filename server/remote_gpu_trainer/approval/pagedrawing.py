"""A curve as the numbers of an SVG: made here, so that the page needs no script."""

from collections.abc import Iterator
from dataclasses import dataclass

from remote_gpu_trainer.approval.pagecurve import Curve, Line

WIDTH, HEIGHT = 640, 220
"""Of the drawing's own coordinates; the style sheet scales it."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 14, 32


@dataclass(frozen=True)
class Drawing:
    """What the template puts into the SVG."""

    paths: tuple[tuple[str, str], ...]
    """A name and the points of its line, as ``x,y x,y``."""
    heights: tuple[tuple[str, str], ...]
    """A level's y and its label."""
    widths: tuple[tuple[str, str], ...]
    """A step's x and its label."""
    words: tuple[str, ...]
    """The same for those who cannot see it: one sentence for each line."""


def drawing_of(curve: Curve) -> Drawing:
    """Scale every line of a curve into one picture. The curve has at least one line."""
    everything = [point for line in curve.lines for point in line.points]
    left, right = min(x for x, _ in everything), max(x for x, _ in everything)
    low, high = min(y for _, y in everything), max(y for _, y in everything)
    # A flat curve, or one of a single point, lies in the middle.
    across, up = right - left or 1.0, high - low or 1.0
    middle_x, middle_y = (0.5 if right == left else 0.0), (0.5 if high == low else 0.0)

    def at_x(x: float) -> str:
        return f"{_LEFT + ((x - left) / across + middle_x) * (WIDTH - _LEFT - _RIGHT):.1f}"

    def at_y(y: float) -> str:
        return f"{HEIGHT - _BOTTOM - ((y - low) / up + middle_y) * (HEIGHT - _TOP - _BOTTOM):.1f}"

    return Drawing(
        paths=tuple((line.name, " ".join(f"{at_x(x)},{at_y(y)}" for x, y in line.points)) for line in curve.lines),
        heights=tuple((at_y(y), f"{y:.3g}") for y in dict.fromkeys((low, (low + high) / 2, high))),
        widths=tuple((at_x(x), f"{x:g}") for x in dict.fromkeys((left, right))),
        words=tuple(_words(curve.lines)),
    )


def _words(lines: tuple[Line, ...]) -> Iterator[str]:
    for line in lines:
        broken = f"; {line.not_finite} of its values are no finite numbers" if line.not_finite else ""
        yield f"{line.name} ends at {line.last:.4g}, its lowest is {line.least:.4g}{broken}."
