"""Where one sync stands for that of each file."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remote_gpu_trainer.transfer import wholesync
from remote_gpu_trainer.transfer.landing import Landing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")


@contextmanager
def folder(path: str) -> Generator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def test_a_file_system_in_memory_is_one_of_those_that_are_known() -> None:
    with folder("/dev/shm") as fd:  # a place in memory, not a name in it
        assert wholesync.is_enough(fd)
        assert wholesync.sync(fd)


def test_of_a_file_system_that_is_not_known_each_file_is_synced() -> None:
    with folder("/proc") as fd:
        assert not wholesync.is_enough(fd)


def test_a_sync_that_fails_is_not_taken_for_one() -> None:
    with folder("/proc") as fd:
        os.close(closed := os.dup(fd))
        assert not wholesync.is_enough(closed)
        assert not wholesync.sync(closed)


def test_a_destination_is_asked_for_what_it_is_on(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    try:
        with folder(str(tmp_path)) as fd:
            assert landing.sync_all() == wholesync.is_enough(fd)
    finally:
        landing.close()
