"""What a loader says of one file. Plain values: the worker that makes them imports as little as possible."""

from dataclasses import dataclass, field
from typing import Literal

Weight = Literal["error", "warning", "note"]


class BrokenArtifact(Exception):
    """The file does not load. ``code`` is stable, the message says what was seen, with numbers."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Outcome:
    """The result of one load."""

    loaded: bool = True
    """False when only the structure was read, so that the file stays at DIGEST."""
    findings: list[tuple[str, Weight, str]] = field(default_factory=list[tuple[str, Weight, str]])
    facts: dict[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
    names: list[str] = field(default_factory=list[str])
    """Tensors by name, in the file's order."""
    numbers: dict[str, float] = field(default_factory=dict[str, float])
    """Metrics of the last line of a metrics file or of a result; not-finite ones included."""

    shards: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Of the index of a model in parts: each file beside it, with the tensors that it promises there."""

    def note(self, code: str, message: str) -> None:
        """Add something worth knowing."""
        self.findings.append((code, "note", message))

    def warn(self, code: str, message: str) -> None:
        """Add something that loads and looks wrong."""
        self.findings.append((code, "warning", message))

    def error(self, code: str, message: str) -> None:
        """Add a break: the file does not count as loaded."""
        self.findings.append((code, "error", message))
        self.loaded = False
