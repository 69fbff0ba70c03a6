"""The scene is set once, through the real tools; everybody knocks at the same machine."""

from collections.abc import AsyncGenerator

import pytest

from tests.adversarial.scene import ERAS, POLICY, Scene
from tests.stage import on_stage


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def scene(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncGenerator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    async with on_stage(folder, policy=POLICY) as stage:
        run, instance_id, copy = await stage.proven("guarded")
        scene = Scene(stage.market, folder, run, instance_id, copy)
        yield scene
        assert scene.there(), "somebody destroyed the instance"


@pytest.fixture(params=list(ERAS))
def era(request: pytest.FixtureRequest) -> str:
    return request.param
