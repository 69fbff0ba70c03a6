"""Four strings and a message become one phase, and what the table does not know becomes UNKNOWN."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.domain.instances import InstancePhase as P
from remote_gpu_trainer.domain.instances import RawStatus
from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.vastai.status import ACTUAL, STATES, TABLE, phase_of

BID, FIXED = RentalType.INTERRUPTIBLE, RentalType.ON_DEMAND
OK = "success, running python_3.12/ssh"


def raw(
    actual: str | None, intended: str | None, current: str | None, after: str | None, message: str | None = OK
) -> RawStatus:
    return RawStatus(actual=actual, intended=intended, current=current, next=after, message=message)


CASES = [
    (raw("running", "running", "running", "running"), FIXED, P.RUNNING),
    (raw("Running ", "running", "running", "running"), BID, P.RUNNING),
    (raw(None, "running", "running", "running", None), FIXED, P.CREATED),
    (raw("created", "running", "running", "running"), FIXED, P.CREATED),
    (raw("loading", "running", "running", "running"), BID, P.LOADING),
    (raw("rebooting", "running", "running", "running"), FIXED, P.REBOOTING),
    (raw("frozen", "running", "running", "running"), FIXED, P.FROZEN),
    (raw("exited", "stopped", "stopped", "stopped"), FIXED, P.STOPPED),
    (raw("stopped", "stopped", "stopped", "stopped"), BID, P.STOPPED),
    (raw(None, "stopped", "stopped", "stopped", None), BID, P.STOPPED),
    (raw("running", "stopped", "running", "stopped"), FIXED, P.STOPPING),
    (raw(None, "stopped", "running", "stopped"), FIXED, P.STOPPING),
    (raw("running", "running", "running", "stopped"), BID, P.STOPPING),
    (raw("loading", "stopped", "stopped", "stopped"), FIXED, P.STOPPING),
    (raw("exited", "running", "stopped", "running"), BID, P.PREEMPTED),
    (raw("exited", "running", "stopped", "stopped"), BID, P.PREEMPTED),
    (raw("running", "running", "stopped", "stopped"), BID, P.PREEMPTED),
    (raw(None, "running", "stopped", "running"), BID, P.PREEMPTED),
    (raw("exited", "running", "stopped", "stopped", "instance was outbid"), FIXED, P.PREEMPTED),
    (raw("exited", "running", "stopped", "running"), FIXED, P.SCHEDULING),
    (raw("stopped", "running", "stopped", "running"), FIXED, P.SCHEDULING),
    (raw("stopped", "running", "running", "running"), FIXED, P.SCHEDULING),
    (raw("exited", "running", "stopped", "stopped"), FIXED, P.STOPPED),
    (raw("exited", "running", "running", "running"), FIXED, P.EXITED),
    (raw("offline", "running", "running", "running"), BID, P.OFFLINE),
    (raw("offline", "stopped", "stopped", "stopped"), FIXED, P.OFFLINE),
    (raw("unknown", "running", "running", "running"), FIXED, P.UNKNOWN),
    (raw("sleeping", "running", "running", "running"), FIXED, P.UNKNOWN),
    (raw("running", None, None, None), FIXED, P.UNKNOWN),
    (raw("running", "running", None, None), FIXED, P.UNKNOWN),
    (raw("running", "deleted", "running", "running"), FIXED, P.UNKNOWN),
    (raw("running", "running", "stopped", "stopped"), FIXED, P.UNKNOWN),
]


@pytest.mark.parametrize(("status", "rental", "phase"), CASES, ids=str)
def test_each_combination_reads_as_its_phase(status: RawStatus, rental: RentalType, phase: P) -> None:
    assert phase_of(status, rental) is phase


def test_a_box_that_speaks_of_an_outbid_while_it_runs_is_still_running() -> None:
    assert phase_of(raw("running", "running", "running", "running", "outbid!"), FIXED) is P.RUNNING


@pytest.mark.parametrize("line", range(len(TABLE)))
def test_each_line_of_the_table_is_needed_by_some_case_and_names_its_source(line: int) -> None:
    assert TABLE[line].source
    first = [next((i for i, row in enumerate(TABLE) if row.matches(s, r)), None) for s, r, _ in CASES]
    assert line in first


words = st.none() | st.sampled_from(sorted(w for w in ACTUAL | STATES if w)) | st.text(max_size=6)


@given(words, words, words, words, st.none() | st.text(max_size=20), st.sampled_from(RentalType))
def test_any_words_read_as_some_phase(
    a: str | None, i: str | None, c: str | None, n: str | None, message: str | None, rental: RentalType
) -> None:
    phase = phase_of(raw(a, i, c, n, message), rental)
    if phase is P.RUNNING:
        assert [w.strip().lower() for w in (a, i, c, n) if w] == ["running"] * 4
    if i not in STATES and (a or "").strip().lower() not in ("offline", "frozen"):
        assert phase is P.UNKNOWN or (i or "").strip().lower() in STATES
