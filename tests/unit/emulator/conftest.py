"""An emulator over loopback whose clock stands still and whose market is quiet, and a renter of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.service import Emulator
from tests.unit.emulator.renter import Renter


@pytest.fixture
def renter(tmp_path: Path) -> Iterator[Renter]:
    with Emulator(tmp_path / "state", speed=0, ssh="none") as ready, Renter(ready) as person:
        person.do("/quirks", **{"lively-market": False, "reads-lag": False, "reappears": False})
        yield person
