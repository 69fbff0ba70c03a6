"""A file system that is soon full, for copies that have to end cleanly on it."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def little_disk(place: Path, mib: int) -> Generator[Path]:
    """A new one of so many MiB at ``place``; skips the test where only root may mount it."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a small file system: a full disk in the midst of a copy was not tried")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
