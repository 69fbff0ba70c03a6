"""The platform's four strings and its message, read once into one phase by a table whose rows name their sources."""

import re
from dataclasses import dataclass

from remote_gpu_trainer.domain.instances import InstancePhase, RawStatus
from remote_gpu_trainer.domain.offers import RentalType

P = InstancePhase
ACTUAL = frozenset(
    {None, "created", "loading", "running", "stopped", "frozen", "exited", "rebooting", "unknown", "offline"}
)
"""Values of ``actual_status`` that are documented or were seen (OpenAPI 2026-08, live 2026)."""
STATES = frozenset({"running", "stopped"})
"""Values of ``intended_status``, ``cur_state`` and ``next_state`` that the table knows (OpenAPI 2026-08, live 2026)."""

_ENDED = frozenset({"exited", "stopped"})
_NOT_UP = frozenset({None, "created", "exited", "stopped"})
_OUTBID = re.compile(r"\bout[\s-]?bid\b", re.I)


@dataclass(frozen=True)
class StatusRow:
    """One line of the table; None for a set means any value. ``bid`` None means either rental type."""

    phase: InstancePhase
    source: str
    actual: frozenset[str | None] | None = None
    intended: frozenset[str | None] | None = None
    current: frozenset[str | None] | None = None
    next: frozenset[str | None] | None = None
    bid: bool | None = None
    outbid_said: bool = False
    """The row needs the message to speak of an out-bid."""

    def matches(self, raw: RawStatus, rental: RentalType) -> bool:
        """Whether this line reads that status."""
        pairs = (
            (self.actual, raw.actual),
            (self.intended, raw.intended),
            (self.current, raw.current),
            (self.next, raw.next),
        )
        if any(known is not None and _word(word) not in known for known, word in pairs):
            return False
        if self.bid is not None and self.bid != (rental is RentalType.INTERRUPTIBLE):
            return False
        return not self.outbid_said or bool(_OUTBID.search(raw.message or ""))


def _word(text: str | None) -> str | None:
    return text.strip().lower() or None if text is not None else None


def _s(*words: str | None) -> frozenset[str | None]:
    return frozenset(words)


RUN, STOP = _s("running"), _s("stopped")
OPENAPI, SEED, LIVE = "OpenAPI 2026-08", "docs.vast.ai 2026-06", "seen live 2026"

TABLE: tuple[StatusRow, ...] = (
    StatusRow(P.OFFLINE, f"{SEED}: Offline, host gone", actual=_s("offline")),
    StatusRow(P.UNKNOWN, f"{OPENAPI}: `unknown` never becomes running", actual=_s("unknown")),
    StatusRow(P.FROZEN, f"{OPENAPI}: actual_status", actual=_s("frozen")),
    StatusRow(P.REBOOTING, f"{OPENAPI}: reboot keeps the GPU", actual=_s("rebooting"), intended=RUN),
    # Wished to stop.
    StatusRow(P.STOPPED, f"{LIVE}: a clean stop reports exited", actual=frozenset(_ENDED), intended=STOP),
    StatusRow(P.STOPPED, f"{LIVE}: stopped before it ran", actual=_s(None, "created"), intended=STOP, current=STOP),
    StatusRow(P.STOPPING, f"{OPENAPI}: wished stopped, still there", intended=STOP,
              actual=_s(None, "created", "loading", "running", "rebooting"), current=_s("running", "stopped")),
    # Wished to run, and the contract holds no GPU.
    StatusRow(P.PREEMPTED, f"{LIVE}: the message names the out-bid", intended=RUN, current=STOP, outbid_said=True),
    StatusRow(P.PREEMPTED, f"{SEED}: an out-bid interruptible is paused", intended=RUN, current=STOP, bid=True,
              actual=_s(None, "created", "exited", "stopped", "running", "loading")),
    StatusRow(P.SCHEDULING, f"{SEED}: bound to its own GPU, waiting (VAST3)", actual=frozenset(_NOT_UP), intended=RUN,
              current=STOP, next=RUN, bid=False),
    StatusRow(P.STOPPED, f"{SEED}: on-demand stops at its end date", actual=frozenset(_NOT_UP), intended=RUN,
              current=STOP, next=STOP, bid=False),
    # Wished to run, and the contract holds its GPU.
    StatusRow(P.RUNNING, f"{OPENAPI}: actual_status", actual=RUN, intended=RUN, current=RUN, next=RUN),
    StatusRow(P.STOPPING, f"{OPENAPI}: next_state is scheduled", actual=RUN, intended=RUN, current=RUN, next=STOP),
    StatusRow(P.LOADING, f"{SEED}: image pull and boot", actual=_s("loading"), intended=RUN, current=RUN),
    StatusRow(P.CREATED, f"{LIVE}: not reported yet, or a dud", actual=_s(None, "created"), intended=RUN, current=RUN),
    StatusRow(P.EXITED, f"{OPENAPI}: exited by itself", actual=_s("exited"), intended=RUN, current=RUN),
    StatusRow(P.SCHEDULING, f"{OPENAPI}: started again, not up yet", actual=STOP, intended=RUN, current=RUN),
)  # fmt: skip


def phase_of(raw: RawStatus, rental: RentalType) -> InstancePhase:
    """The phase by the first line that matches; UNKNOWN for a combination that none knows."""
    return next((row.phase for row in TABLE if row.matches(raw, rental)), InstancePhase.UNKNOWN)
