"""Any bytes at all, and honest ones that were bent: each promise of the fuzzer's targets holds."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.fuzz.targets import CONTENTS, HEADER, TARGETS, frame, listing, seeds


def bent(target: str) -> st.SearchStrategy[bytes]:
    """An honest input with a part of it replaced, left out or doubled."""

    def bend(honest: bytes, at: float, length: int, other: bytes, twice: bool) -> bytes:
        begin = int(at * len(honest))
        middle = honest[begin : begin + length] * 2 if twice else other
        return honest[:begin] + middle + honest[begin + length :]

    share = st.floats(min_value=0, max_value=1)
    part = st.binary(max_size=12)
    return st.builds(bend, st.sampled_from(seeds(target)), share, st.integers(0, 24), part, st.booleans())


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
def test_bent_and_random_bytes_break_no_promise(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(bent(target) | st.binary(max_size=200)))


@pytest.mark.parametrize("target", TARGETS)
def test_an_honest_input_cut_anywhere_breaks_no_promise(target: str) -> None:
    for honest in seeds(target):
        for end in range(len(honest) + 1):
            TARGETS[target](honest[:end])


names = st.sampled_from(["a", "A", "a/b", "A/c", "../a", "/a", "con", "\u00e9", "e\u0301", "a\u202e"]) | st.text(
    max_size=30
)
kinds = st.sampled_from(["file", "file", "dir", "symlink", "door"])
sizes = st.integers(0, 9) | st.integers(0, 9) | st.integers(-2, 1 << 64)
fields = st.fixed_dictionaries(
    {"path": names, "kind": kinds, "size": sizes, "mtime_ns": st.integers()},
    optional={"sha256": st.just("0" * 64) | st.text(max_size=70), "error": st.text(), "unstable": st.booleans()},
)


strange = st.dictionaries(st.text(max_size=9), st.integers() | st.text() | st.none())


@given(st.lists(fields, max_size=12) | st.lists(fields | strange, max_size=4))
def test_any_entries_under_a_trailer_that_fits_end_in_safe_names_or_a_refusal(entries: list[Any]) -> None:
    TARGETS["manifest"](listing(*entries) + listing())


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([*CONTENTS.values(), b"other"]), st.booleans())))
@example([(number, content, False) for number, content in enumerate(CONTENTS.values())])
def test_any_order_of_answers_ends_in_asked_files_or_a_refusal(answers: list[tuple[int, bytes, bool]]) -> None:
    TARGETS["stream"](
        b"".join(
            HEADER.pack(number, 1, len(content)) + content if refused else frame(number, content)
            for number, content, refused in answers
        )
    )


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_an_honest_pickle_of_any_protocol_breaks_no_promise(value: object, protocol: int) -> None:
    TARGETS["pickle"](pickle.dumps(value, protocol))


@given(plain.map(lambda value: json.dumps(value, default=str).encode()))
def test_an_honest_document_breaks_no_promise(document: bytes) -> None:
    TARGETS["json"](document)
