"""Faults on request: which calls go wrong, how, and how often."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

KINDS = {
    "lost-response": "The call is done and its answer is lost: the connection closes.",
    "lost-request": "The connection closes before anything is done.",
    "error": "An HTTP error (status, default 503) before anything is done.",
    "late-error": "The call is done, then answered with an HTTP error (status, default 502).",
    "rate-limit": "429 with retry_after, nothing done.",
    "timeout": "Nothing is done and nothing is answered for delay_s (default 600), then the connection closes.",
    "slow": "The answer comes delay_s (default 3) real seconds late.",
    "garbage": "The call is done; the answer is 200 with HTML instead of JSON.",
    "truncate": "The call is done; the answer stops in the middle.",
    "auth": "404 auth_error, as the platform answers some good keys and all bad ones.",
    "phantom": "A create that answers success with an id that never appears.",
    "dud": "A create whose instance stays at actual_status null for ever and bills its disk.",
}


@dataclass
class Fault:
    """One armed fault: ``count`` calls that match ``method`` and ``path`` (a glob), once ``after`` went well."""

    method: str
    path: str
    kind: str
    count: int = 1
    after: int = 0
    status: int | None = None
    delay_s: float | None = None
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Whether a call is meant, whatever the count; a trailing slash does not matter."""
        return self.method in ("*", method) and fnmatchcase(path.rstrip("/"), self.path.rstrip("/"))


class Faults:
    """The armed faults, oldest first."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        """Arm one. Raises ValueError for an unknown kind or a count below 1."""
        if fault.kind not in KINDS:
            raise ValueError(f"unknown fault {fault.kind!r}; known: {', '.join(KINDS)}")
        if fault.count < 1 or fault.after < 0:
            raise ValueError("count must be at least 1 and after at least 0")
        self.armed.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that hits this call, used up by one; None when it goes well."""
        for fault in self.armed:
            if not fault.matches(method, path):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.hits += 1
            fault.count -= 1
            if fault.count == 0:
                self.armed.remove(fault)
            return fault
        return None
