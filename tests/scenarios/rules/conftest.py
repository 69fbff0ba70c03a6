"""One market and one server for a module of gotchas."""

from collections.abc import AsyncGenerator

import pytest

from tests.stage import Stage, on_stage

ROOMY = """
max_instances = 40
max_usd_per_hour = 9.0
max_usd_per_run = 900.0
max_usd_per_day = 9000.0
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    async with on_stage(tmp_path_factory.mktemp("stage"), policy=ROOMY) as standing:
        yield standing
