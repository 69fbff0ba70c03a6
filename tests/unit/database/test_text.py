"""How values lie on disk: times whose text order is their time order, JSON in one spelling, nothing misread."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.database.text import Unreadable, dump, load, load_object, moment, stamp
from remote_gpu_trainer.domain.runs import Lease
from tests.unit.database.builders import a_lease

TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9990, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone


@given(TIMES, TIMES)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    assert (stamp(one) < stamp(other)) == (one < other)
    assert moment(stamp(one)) == one


def test_a_time_in_another_zone_is_the_same_time() -> None:
    there = datetime(2026, 8, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert stamp(there) == "2026-08-01T12:00:00.000000Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        stamp(datetime(2026, 8, 1))  # noqa: DTZ001  # that is the case


@pytest.mark.parametrize("text", ["", "now", "2026-08-01", "2026-08-01T12:00:00Z"])
def test_text_that_is_no_time_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        moment(text)


def test_json_has_one_spelling() -> None:
    assert dump({"b": [1.5, None], "a": "\u00fc"}) == '{"a":"\\u00fc","b":[1.5,null]}'
    assert load_object(dump({"big": 2**60 + 1})) == {"big": 2**60 + 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"x": float("nan")})


def test_a_value_comes_back_equal_and_anything_else_is_unreadable() -> None:
    assert load(Lease, dump(a_lease())) == a_lease()
    for text in ("", "{}", "[]", dump(a_lease()).replace('"image"', '"pictures"')):
        with pytest.raises(Unreadable):
            load(Lease, text)
    for text in ("", "[]", "1", "{"):
        with pytest.raises(Unreadable):
            load_object(text)
