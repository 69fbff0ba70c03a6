"""One stage for a module of tests: an emulated market, the real services, an MCP client without elicitation."""

from collections.abc import AsyncGenerator

import pytest

from tests.stage import Stage, on_stage


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    async with on_stage(tmp_path_factory.mktemp("stage"), policy="max_instances = 12\n") as standing:
        yield standing
