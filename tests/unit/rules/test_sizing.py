"""Disk need and the interval between checkpoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.rules.sizing import checkpoint_interval_s, disk_need

seconds = st.floats(min_value=0.1, max_value=1e6)


def test_the_interval_is_the_worked_example() -> None:
    assert checkpoint_interval_s(save_s=20, mean_between_losses_s=4 * 3600) == pytest.approx(746, abs=1)


def test_a_save_longer_than_two_lifetimes_is_not_worth_a_formula() -> None:
    assert checkpoint_interval_s(save_s=100, mean_between_losses_s=50) == 50


@given(save=seconds, mean=seconds)
def test_the_interval_is_positive_and_grows_with_the_time_between_losses(save: float, mean: float) -> None:
    interval = checkpoint_interval_s(save_s=save, mean_between_losses_s=mean)

    assert interval > 0
    assert checkpoint_interval_s(save_s=save, mean_between_losses_s=mean * 4) > interval


@pytest.mark.parametrize(("save", "mean"), [(0, 1), (1, 0), (-1, 1)])
def test_times_that_are_not_positive_are_refused(save: float, mean: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        checkpoint_interval_s(save_s=save, mean_between_losses_s=mean)


def test_disk_need_counts_the_temporary_file_of_an_atomic_write() -> None:
    one = disk_need(image_gib=8, data_gib=10, checkpoint_gib=2, kept_checkpoints=1)
    two = disk_need(image_gib=8, data_gib=10, checkpoint_gib=2, kept_checkpoints=2)

    assert two - one == pytest.approx(2 * 1.15)
    assert one == pytest.approx((8 * 2.2 + 10 + 4) * 1.15)
