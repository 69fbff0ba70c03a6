"""Commands that wait for what they will be asked."""

from collections.abc import AsyncIterator

import pytest

from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer.standby import Standby
from tests.unit.transfer.conftest import Far

pytestmark = pytest.mark.anyio


@pytest.fixture
async def waiting(far: Far) -> AsyncIterator[tuple[Standby, ParamikoHost]]:
    """A command that notes its start and says what it is told, started over one connection."""
    standby = Standby(["sh", "-c", "echo once >> /workspace/out/starts; cat"])
    host = await far.connect()
    await standby.start(host)
    yield standby, host
    await standby.aclose()


async def say(standby: Standby, host: ParamikoHost, *words: bytes) -> bytes:
    async with standby.stream(host, iter(words), bulk=False) as output:
        return b"".join([piece async for piece in output])


async def test_a_command_that_waited_is_the_one_that_answers(far: Far, waiting: tuple[Standby, ParamikoHost]) -> None:
    assert await say(*waiting, b"one ", b"two") == b"one two"
    assert (far.out / "starts").read_text() == "once\n"


async def test_where_none_waits_one_is_started(far: Far, waiting: tuple[Standby, ParamikoHost]) -> None:
    standby, _ = waiting
    assert await say(*waiting, b"first") == b"first"
    assert await say(*waiting, b"second") == b"second"
    assert await say(standby, await far.connect(), b"elsewhere") == b"elsewhere"
    assert (far.out / "starts").read_text() == "once\n" * 3


async def test_what_still_waits_at_the_end_is_let_go(waiting: tuple[Standby, ParamikoHost]) -> None:
    await waiting[0].aclose()
    assert await say(*waiting, b"later") == b"later"
