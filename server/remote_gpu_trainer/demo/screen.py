"""The demo on a terminal: what is called, what came of it, how far the model is."""

import io
import re
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Taken out, so that the picture loads nothing from elsewhere."""

KEPT = 16
"""Lines of history on the screen."""


class Screen:
    """A live view, or plain lines where there is no terminal."""

    def __init__(self, *, plain: bool, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live_wanted = self._console.is_terminal and not plain
        self._live: Live | None = None
        self._lines: list[tuple[str, str, str, str]] = []
        self._now = ("", "")
        self._bar = Progress(
            TextColumn("[bold]training"), BarColumn(bar_width=None), TextColumn("step {task.completed}/{task.total}")
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._live_wanted:
            self._live = Live(console=self._console, get_renderable=self._view, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._now = ("", "")
            self._live.stop()

    def say(self, text: str, *, style: str = "cyan") -> None:
        """A line of our own."""
        self._add("*", text, "", style)

    def doing(self, tool: str, told: str) -> None:
        """A call has begun."""
        self._now = (tool, told)

    def done(self, tool: str, outcome: str, seconds: float) -> None:
        """It has ended."""
        told = self._now[1]
        short = " ".join(outcome.split())[:90]
        style = "green" if outcome == "ok" else "yellow"
        self._now = ("", "")
        self._add(tool, f"{told}: {short}" if short != "ok" else told, f"{seconds:.1f} s", style)

    def step(self, step: int, of: int) -> None:
        """How far the training is."""
        if self._task is None:
            self._task = self._bar.add_task("", total=of)
        self._bar.update(self._task, completed=step)

    def picture(self) -> str:
        """The whole history, as SVG."""
        self._now = ("", "")
        with io.StringIO() as nowhere:
            canvas = Console(record=True, width=132, file=nowhere, force_terminal=True)
            canvas.print(self._view(len(self._lines)))
            return _FONTS.sub("", canvas.export_svg(title="make demo"))

    def _add(self, left: str, text: str, right: str, style: str) -> None:
        self._lines.append((left, text, right, style))
        if self._live is None:
            self._console.print(Text(f"{left:>16}  {text}  {right}".rstrip(), style=style), highlight=False)

    def _view(self, kept: int = KEPT) -> Panel:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        for left, text, right, style in self._lines[-kept:]:
            table.add_row(Text(left, style="bold"), Text(text, style=style), Text(right, style="dim"))
        parts: list[Table | Spinner | Progress] = [table]
        if self._now[0]:
            parts.append(Spinner("dots", text=f"{self._now[0]}: {self._now[1]}"))
        if self._task is not None:
            parts.append(self._bar)
        return Panel(Group(*parts), title="remote-gpu-trainer demo: an emulated market, real everything else")
