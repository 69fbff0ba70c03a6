"""One emulator with real boxes for all the commands, at two hundred times the speed of life."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.service import Emulator
from tests.contract.emulator.cli import PROGRAM, SPEED, Cli
from tests.unit.emulator.renter import Renter

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="the official vastai CLI is not installed here")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    if not PROGRAM.exists():
        pytest.skip("the official vastai CLI is not installed beside this Python")
    folder = tmp_path_factory.mktemp("emulator")
    calm = ("lively-market", "reappears", "shared-limit")
    with Emulator(folder, speed=SPEED, isolation="none", without=calm) as ready, Renter(ready) as person:
        made = Cli(person, tmp_path_factory.mktemp("home"))
        yield made
        made.preloaded.close()


@pytest.fixture
def home(cli: Cli) -> Path:
    return cli.home


@pytest.fixture
def renter(tmp_path: Path) -> Iterator[Renter]:
    """A renter of an emulator whose clock stands still."""
    with Emulator(tmp_path / "state", speed=0, ssh="none") as ready, Renter(ready) as person:
        person.do("/quirks", **{"lively-market": False, "reads-lag": False, "reappears": False})
        yield person
