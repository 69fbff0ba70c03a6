"""Two estimates: how much disk a job needs, and how often it should save."""

from math import sqrt

from remote_gpu_trainer.domain.units import GiB

UNPACKED = 2.2
"""Bytes on disk for each compressed byte of a usual CUDA image: a rule of thumb, not a fact of the platform."""
SPARE = 1.15
"""Logs, package caches and what nobody thought of."""


def disk_need(
    *, image_gib: float, data_gib: float, checkpoint_gib: float, kept_checkpoints: int, cache_gib: float = 0.0
) -> GiB:
    """GiB that a job is likely to fill: unpacked image, data, cache, and one checkpoint more than are kept.

    The one more is the temporary file of an atomic write, which exists beside all the others.
    """
    checkpoints = checkpoint_gib * (kept_checkpoints + 1)
    return GiB((image_gib * UNPACKED + data_gib + cache_gib + checkpoints) * SPARE)


def checkpoint_interval_s(*, save_s: float, mean_between_losses_s: float) -> float:
    """Seconds of work between checkpoints that lose the least time in all (Daly 2006, after Young 1974).

    Args:
        save_s: How long the job stands still for one checkpoint.
        mean_between_losses_s: Mean time between preemptions.

    Raises:
        ValueError: a time that is not positive.
    """
    if save_s <= 0 or mean_between_losses_s <= 0:
        raise ValueError("both times must be positive")
    if save_s >= 2 * mean_between_losses_s:
        return mean_between_losses_s
    ratio = save_s / (2 * mean_between_losses_s)
    return sqrt(2 * save_s * mean_between_losses_s) * (1 + sqrt(ratio) / 3 + ratio / 9) - save_s
