"""A renter who has nothing but HTTP and SSH, on an emulator with real boxes whose clock stands still."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.box.isolation import why_no_bubblewrap
from remote_gpu_trainer.emulator.service import Emulator
from tests.scenarios.emulator.tenant import Tenant
from tests.unit.emulator.renter import Renter


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    folder: Path = tmp_path_factory.mktemp("emulator")
    with Emulator(folder, speed=0) as ready, Renter(ready) as renter:
        renter.do("/quirks", **{"lively-market": False, "reads-lag": False, "reappears": False})
        yield Tenant(renter)


@pytest.fixture
def tenant(tenants: Tenant) -> Iterator[Tenant]:
    """The same one for all scenes, with full pockets, and nothing rented at the end of each."""
    tenants.renter.do("/account", balance_usd=1000.0)
    yield tenants
    tenants.leave()


@pytest.fixture
def own_network(tmp_path: Path) -> Iterator[Tenant]:
    """A renter whose boxes have networks of their own, as the platform's have."""
    if why := why_no_bubblewrap():
        pytest.skip(f"no box can have a network of its own: {why}")
    with Emulator(tmp_path, speed=0, network="own") as ready, Renter(ready) as renter:
        renter.do("/quirks", **{"lively-market": False, "reads-lag": False, "reappears": False})
        tenant = Tenant(renter)
        yield tenant
        tenant.leave()
