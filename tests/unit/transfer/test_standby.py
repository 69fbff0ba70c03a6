"""Commands that wait for what they will be asked."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.ports import ByteStream
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


class Patient:
    """A connection whose list comes once another command was started meanwhile."""

    def __init__(self, host: ParamikoHost) -> None:
        self._host = host
        self.endpoint, self.run, self.put, self.close = host.endpoint, host.run, host.put, host.close
        self.another = anyio.Event()
        self.bulk: list[bool] = []

    @asynccontextmanager
    async def stream(
        self, argv: Sequence[str], *, stdin: bytes | Iterable[bytes] = b"", chunk: int = 1 << 20, bulk: bool = False
    ) -> AsyncGenerator[ByteStream]:
        self.bulk.append(bulk)
        if len(self.bulk) > 1:
            self.another.set()
        async with self._host.stream(argv, stdin=stdin, chunk=chunk, bulk=bulk) as output:
            yield output if bulk else _Slow(output, self.another)


class _Slow:
    def __init__(self, output: ByteStream, until: anyio.Event) -> None:
        self._output, self._until = output, until
        self.pump = output.pump

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with anyio.fail_after(10):
            await self._until.wait()
        async for piece in self._output:
            yield piece


async def test_nearby_what_sends_is_started_while_the_machine_still_lists_and_nothing_more_is(
    far: Far, tmp_path: Path
) -> None:
    (far.out / "one").write_bytes(b"content")
    hosts: list[Patient] = []

    async def connect() -> Any:
        hosts.append(Patient(await far.connect()))
        return hosts[-1]

    with anyio.fail_after(40):
        receipt = await far.pull(tmp_path / "home", factory=connect)
    assert [entry.path for entry in receipt.manifest.entries] == ["one"]
    assert sorted(hosts[0].bulk) == [False, True], "what lists, and what sends"
    assert len(hosts) == 1
