"""The two ways of reading an output, over a source that a test holds in its hand."""

import queue

import anyio
import anyio.from_thread
import pytest

from remote_gpu_trainer.errors import ConnectionCut, TransferError
from remote_gpu_trainer.ssh.output import Output

pytestmark = pytest.mark.anyio
SILENCE = None


class Hand:
    """Gives what it was filled with; waits when it is empty, until it is stopped."""

    def __init__(self, *pieces: bytes | None) -> None:
        self._pieces: queue.Queue[bytes | None] = queue.Queue()
        self.stopped = False
        for piece in pieces:
            self._pieces.put(piece)

    def read(self, silence_s: float) -> memoryview | None:
        piece = self._pieces.get(timeout=30)
        return None if piece is None else memoryview(piece)

    def stop(self) -> None:
        self.stopped = True
        self._pieces.put(b"")


async def test_all_of_it_is_given_in_order() -> None:
    seen: list[bytes] = []
    await Output(Hand(b"a", b"b", b""), "box:22").pump(lambda piece: seen.append(bytes(piece)))
    assert seen == [b"a", b"b"]


async def test_a_far_side_that_falls_silent_is_taken_for_cut() -> None:
    with pytest.raises(ConnectionCut, match=r"nothing came from box:22 for 60 s"):
        await Output(Hand(b"a", SILENCE), "box:22").pump(lambda piece: None)
    with pytest.raises(ConnectionCut):
        async for _ in Output(Hand(b"a", SILENCE), "box:22"):
            pass


async def test_what_the_taker_refuses_ends_the_stream_and_is_raised_by_itself() -> None:
    def refuse(piece: memoryview) -> None:
        raise TransferError("not what was asked")

    with pytest.raises(TransferError, match="not what was asked"):
        await Output(Hand(b"a", b"b", b""), "box:22").pump(refuse)


async def test_a_cancel_stops_the_source_and_nothing_is_taken_afterwards() -> None:
    hand, seen = Hand(b"a"), list[bytes]()
    async with anyio.create_task_group() as group:

        def take(piece: memoryview) -> None:
            seen.append(bytes(piece))
            anyio.from_thread.run_sync(group.cancel_scope.cancel)

        group.start_soon(Output(hand, "box:22").pump, take)
    assert hand.stopped
    assert seen == [b"a"]
