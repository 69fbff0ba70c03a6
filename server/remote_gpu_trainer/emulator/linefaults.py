"""Faults of single SSH connections: which ones go wrong, how, and after how many bytes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    "cut": "The connection is dropped once `bytes` went over it, both ways together.",
    "stall": "Once `bytes` went over it nothing moves any more, until faults are cleared or the box goes down.",
    "changed-host-key": "The box presents another host key.",
    "banner-delay": "The greeting comes `delay_s` real seconds late.",
    "refuse-auth": "Every key is turned away.",
}
LINES = ("direct", "proxy", "*")


@dataclass
class LineFault:
    """One armed fault: ``count`` connections on ``line``, once ``after`` went well. ``bytes`` for cut and stall."""

    kind: str
    count: int = 1
    after: int = 0
    bytes: int = 0
    delay_s: float = 0.0
    line: str = "*"
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown SSH fault {self.kind!r}; known: {', '.join(KINDS)}")
        if self.line not in LINES:
            raise ValueError(f"unknown line {self.line!r}; known: {', '.join(LINES)}")
        if self.count < 1 or self.after < 0 or self.bytes < 0 or self.delay_s < 0:
            raise ValueError("count must be at least 1; after, bytes and delay_s at least 0")

    def to_json(self) -> dict[str, Any]:
        """What was armed and is left of it."""
        return {name: value for name, value in vars(self).items() if name != "over"}


class LineFaults:
    """The armed faults of one box, oldest first, and those that are at work."""

    def __init__(self) -> None:
        self._armed: list[LineFault] = []
        self._working: list[LineFault] = []
        self._lock = threading.Lock()

    def arm(self, fault: LineFault) -> None:
        """Arm one, for connections from now on."""
        with self._lock:
            self._armed.append(fault)

    def take(self, line: str) -> LineFault | None:
        """The fault that hits a new connection on ``line``, used up by one; None when it goes well."""
        with self._lock:
            for fault in self._armed:
                if fault.line not in ("*", line):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.count -= 1
                if fault.count == 0:
                    self._armed.remove(fault)
                self._working.append(fault)
                return fault
        return None

    def clear(self) -> None:
        """Disarm all, and let go what stalls."""
        with self._lock:
            for fault in [*self._armed, *self._working]:
                fault.over.set()
            self._armed.clear()
            self._working.clear()

    def armed(self) -> list[dict[str, Any]]:
        """All that are armed, as JSON values."""
        with self._lock:
            return [fault.to_json() for fault in self._armed]


def wait_out(fault: LineFault, passed: int, down: threading.Event, look_s: float, cut: Callable[[], Exception]) -> None:
    """Hold a connection that stalls; raises what ``cut`` gives when the box goes down meanwhile."""
    while fault.kind == "stall" and passed >= fault.bytes and not fault.over.is_set():
        if down.wait(look_s):
            raise cut()
