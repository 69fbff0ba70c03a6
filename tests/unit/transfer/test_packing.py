"""Compressed answers of the framed stream: when the machine gives them, and what is refused of them."""

import hashlib
import io
import json
import math
import random
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.errors import TransferError
from remote_gpu_trainer.ports import ByteStream
from remote_gpu_trainer.ssh import ParamikoHost
from remote_gpu_trainer.transfer import far_sender
from remote_gpu_trainer.transfer.orders import PACK_BELOW, Feed, Orders
from remote_gpu_trainer.transfer.pace import WINDOW_S, Pace
from remote_gpu_trainer.transfer.receiver import HEADER, PACKED, PLAIN, Receiver
from remote_gpu_trainer.transfer.tasks import CHUNK, FileTask, Order, recall
from remote_gpu_trainer.transfer.unpack import NotWhatWasPacked, Unpacker, most_packed
from tests.unit.transfer.conftest import Far
from tests.unit.transfer.test_stream import sha, shelf_in, task_of

SLOW = 1_000_000
MIB = 1 << 20


def log(size: int, seed: int = 1) -> bytes:
    """Lines such as a trainer writes."""
    dice, lines, have = random.Random(seed), list[str](), 0
    while have < size:
        step = len(lines)
        lines.append(json.dumps({"step": step, "loss": round(4 / (1 + step) + dice.random(), 5), "lr": 3e-4}) + "\n")
        have += len(lines[-1])
    return "".join(lines).encode()[:size]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Counted:
    """Who is told of progress."""

    def __init__(self) -> None:
        self.bytes = self.wire = self.answers = 0

    def __call__(self, size: int, wire: int, answered: bool) -> None:
        self.bytes, self.wire, self.answers = self.bytes + size, self.wire + wire, self.answers + answered


def packed(*contents: bytes) -> list[bytes]:
    """Each as the next part of one raw deflate stream."""
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return [stream.compress(content) + stream.flush(zlib.Z_SYNC_FLUSH) for content in contents]


def answer(number: int, content: bytes, wire: bytes, length: int | None = None) -> bytes:
    size = len(wire) if length is None else length
    return HEADER.pack(number, PACKED, size) + wire + sha(content) + b"\1"


def receive(folder: Path, stream: bytes, *tasks: FileTask, may_pack: bool = True, step: int = 1 << 16) -> Counted:
    """Give a receiver the answers to all orders of these tasks."""
    told = Counted()
    with shelf_in(folder) as shelf:
        receiver = Receiver([order for task in tasks for order in task.orders()], shelf, told, lambda: may_pack)
        try:
            for at in range(0, len(stream), step):
                receiver.feed(stream[at : at + step])
            receiver.end()
            shelf.flush()
        except TransferError:
            receiver.abandon()
            raise
    return told


def asked(folder: Path, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """What the far sender answers in its own process: status, bytes on the network, and whether it was stable."""
    given = folder / "orders"
    given.write_bytes(b"".join(lines))
    with given.open("rb") as stdin:
        command = [sys.executable, far_sender.__file__]
        done = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, check=True, timeout=50)
    out = io.BytesIO(done.stdout)
    while head := out.read(HEADER.size):
        _, status, length = HEADER.unpack(head)
        body = out.read(length)
        yield status, body, out.read(33)[-1:] == b"\1"


def wanted(path: Path, offset: int = 0, length: int | None = None) -> bytes:
    seen = path.stat()
    size = seen.st_size if length is None else length
    return json.dumps([str(path.parent), path.name, offset, size, seen.st_size, seen.st_mtime_ns, 0]).encode() + b"\n"


def test_text_comes_packed_over_a_slow_line_and_what_does_not_shrink_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_bytes(log(3 * MIB))
    (tmp_path / "model.bin").write_bytes(noise(MIB))
    orders = [wanted(tmp_path / "run.log"), wanted(tmp_path / "model.bin")]
    (text, body, _), (weights, whole, _) = asked(tmp_path, [b"%d\n" % SLOW, *orders])
    assert (text, weights) == (PACKED, PLAIN)
    assert len(body) < MIB
    assert b"".join(Unpacker().pieces(memoryview(body), 3 * MIB)) == log(3 * MIB)
    assert whole == noise(MIB)


def test_nothing_comes_packed_that_was_not_asked_to(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_bytes(log(MIB))
    order = wanted(tmp_path / "run.log")
    assert [status for status, _, _ in asked(tmp_path, [order, b"0\n", order])] == [PLAIN, PLAIN]


def test_nothing_comes_packed_where_the_line_is_faster_than_packing(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_bytes(log(MIB))
    assert [status for status, _, _ in asked(tmp_path, [b"99000000000\n", wanted(tmp_path / "run.log")])] == [PLAIN]


def test_a_rate_holds_for_orders_that_were_given_before_it(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_bytes(log(2000))
    order = wanted(tmp_path / "run.log")
    orders = [order] * (3 * (1 << 16) // len(order))
    statuses = [status for status, _, _ in asked(tmp_path, [*orders, b"%d\n" % SLOW])]
    assert len(statuses) == len(orders)
    assert set(statuses[far_sender.BLOCK // 2000 :]) == {PACKED}, "it was read behind what is more than one read"


def test_parts_of_two_levels_make_one_stream(tmp_path: Path) -> None:
    packer, unpacker = far_sender.Packer(), Unpacker()
    packer.rate = SLOW
    path, content = tmp_path / "run.log", log(64 << 10)
    path.write_bytes(content)
    used: list[int] = []
    sizes: list[int] = []
    with path.open("rb") as file:
        for turn in range(6):
            busy, idle = packer.levels[turn % 2], packer.levels[1 - turn % 2]
            busy.spent, idle.spent, idle.packed = 0.05, 0.0, 0
            assert packer.pays(file.fileno(), path.name, 0, len(content))
            used.append(packer.level.level)
            part = b"".join(packer.pack(iter([memoryview(content)])))
            sizes.append(len(part))
            assert b"".join(unpacker.pieces(memoryview(part), len(content))) == content
    assert max(sizes[::2]) < min(sizes[1::2])
    assert used == [4, 1, 4, 1, 4, 1]


def test_a_file_that_changes_while_it_is_packed_is_not_called_stable(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(log(MIB))
    seen = path.stat()
    order = json.dumps([str(tmp_path), "run.log", 0, 2 * MIB, seen.st_size, seen.st_mtime_ns, 0]).encode() + b"\n"
    ((status, body, stable),) = asked(tmp_path, [b"%d\n" % SLOW, order])
    assert (status, stable) == (PACKED, False), "a megabyte is missing at its end"
    assert b"".join(Unpacker().pieces(memoryview(body), 2 * MIB)) == log(MIB) + bytes(MIB)


def test_samples_of_names_that_do_not_shrink_become_rare(tmp_path: Path) -> None:
    packer = far_sender.Packer()
    packer.rate = 1
    (tmp_path / "a.png").write_bytes(noise(64 << 10))
    (tmp_path / "b.png").write_bytes(log(64 << 10))
    with (tmp_path / "a.png").open("rb") as bad, (tmp_path / "b.png").open("rb") as good:
        turns = [packer.pays(bad.fileno(), "a.png", 0, 64 << 10) for _ in range(200)]
        sampled = packer.levels[0].raw // (8 << 10)
        waits = [packer.pays(good.fileno(), "b.png", 0, 64 << 10) for _ in range(65)]
        other = packer.pays(good.fileno(), "b.log", 0, 64 << 10)
    assert not any(turns)
    assert sampled == 8
    assert waits[-1], "in the end it looks again"
    assert other, "other names are not held back"


@pytest.mark.parametrize("sizes", [(5, 0, 3000, 70_000), (2 * MIB, 900)])
@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_packed_answers_make_files_in_whatever_pieces_they_come(
    tmp_path: Path, sizes: tuple[int, ...], step: int
) -> None:
    contents = [log(size, seed) for seed, size in enumerate(sizes)]
    tasks = [task_of(content, f"f{number}") for number, content in enumerate(contents)]
    parts = iter(packed(*filter(None, contents)))
    stream = b"".join(
        answer(number, content, next(parts)) if content else HEADER.pack(number, PLAIN, 0) + sha(b"") + b"\1"
        for number, content in enumerate(contents)
    )
    told = receive(tmp_path, stream, *tasks, step=step)
    assert [(tmp_path / f"f{number}").read_bytes() for number in range(len(contents))] == contents
    assert [task.sha256 for task in tasks] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert (told.bytes, told.answers) == (sum(sizes), len(sizes))
    assert told.wire == sum(map(len, packed(*filter(None, contents))))


def test_after_a_cut_at_any_byte_of_a_packed_stream_nothing_that_was_proven_comes_twice(tmp_path: Path) -> None:
    content = (log(200) * 8000)[: MIB + 77]
    after = log(900)
    parts = zip((content, after), packed(content, after), strict=True)
    whole = b"".join(answer(number, each, wire) for number, (each, wire) in enumerate(parts))
    dice = random.Random(4)
    for cut in sorted({0, 5, 13, 14, len(whole) - 1, len(whole), *(dice.randrange(len(whole)) for _ in range(60))}):
        folder = tmp_path / str(cut)
        first = [task_of(content, "big"), task_of(after, "after")]
        came = Counted()
        with shelf_in(folder) as shelf:
            receiver = Receiver([order for task in first for order in task.orders()], shelf, came, lambda: True)
            receiver.feed(whole[:cut])
            receiver.abandon()
        second = [task_of(content, "big"), task_of(after, "after")]
        with shelf_in(folder) as shelf:
            for task in second:
                recall(task, shelf.landing, shelf.chunks)
            orders = [order for task in second if task.open for order in task.orders()]
            told = Counted()
            receiver = Receiver(orders, shelf, told, lambda: True)
            pieces = [_range(order, content, after) for order in orders]
            for number, (piece, wire) in enumerate(zip(pieces, packed(*pieces), strict=True)):
                receiver.feed(answer(number, piece, wire))
            receiver.end()
            shelf.flush()
        assert (folder / "big").read_bytes() == content
        assert (folder / "after").read_bytes() == after
        assert told.bytes + came.bytes <= len(content) + len(after) + len(after), "only a cut small file comes again"


def _range(order: Order, content: bytes, after: bytes) -> bytes:
    return (content if order.task.path == "big" else after)[order.offset : order.offset + order.length]


def test_a_bomb_is_refused_before_a_byte_too_much_is_written(tmp_path: Path) -> None:
    task = task_of(bytes(2 * MIB))
    (wire,) = packed(bytes(90 * MIB))
    assert len(wire) < most_packed(2 * MIB)
    with pytest.raises(TransferError, match="more than was asked for"):
        receive(tmp_path, answer(0, bytes(2 * MIB), wire), task)
    partial = tmp_path / ".rgt-partial" / task.key
    assert partial.stat().st_size == 2 * MIB
    assert (tmp_path / ".rgt-partial" / "map.jsonl").read_bytes() == b"", "nothing of it is believed"
    assert not (tmp_path / "big").exists()


CONTENT = log(3000)
(WIRE,) = packed(CONTENT)
LIES = {
    "longer than deflate could make it": (HEADER.pack(0, PACKED, most_packed(3000) + 1), "asked for"),
    "endless": (HEADER.pack(0, PACKED, 1 << 60), "asked for"),
    "of no bytes": (HEADER.pack(0, PACKED, 0), "asked for"),
    "a byte short": (answer(0, CONTENT, WIRE, len(WIRE) - 40), "of 3000 bytes"),
    "with its tail inside": (answer(0, CONTENT, WIRE + noise(300), len(WIRE) + 300), "compressed bytes"),
    "cut": (answer(0, CONTENT, WIRE[: len(WIRE) // 2]), "of 3000 bytes"),
    "without its flush": (answer(0, CONTENT, zlib.compressobj(1, wbits=-15).compress(CONTENT) or b"\0"), "compressed"),
    "of less": (answer(0, CONTENT, packed(CONTENT[:-1])[0]), "2999 of 3000"),
    "of more": (answer(0, CONTENT, packed(CONTENT + b"x")[0]), "more than"),
    "with a zlib header": (answer(0, CONTENT, zlib.compress(CONTENT)), "compressed bytes"),
    "that ends the stream": (answer(0, CONTENT, zlib.compress(CONTENT, wbits=-15)), "no end"),
    "of noise": (answer(0, CONTENT, noise(300, 8)), "compressed"),
    "with another hash": (answer(0, CONTENT[::-1], WIRE), "not its own"),
    "with a status of its own": (HEADER.pack(0, 3, len(WIRE)) + WIRE, "status 3"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("step", [1, 1 << 16])
def test_a_packed_answer_is_refused(tmp_path: Path, lie: str, step: int) -> None:
    stream, said = LIES[lie]
    task = task_of(CONTENT)
    with pytest.raises(TransferError, match=said) as refused:
        receive(tmp_path, stream, task, step=step)
    assert "hostile" in str(refused.value.next_step)
    assert task.sha256 is None
    assert not (tmp_path / "big").exists()


def test_a_packed_answer_where_nobody_wanted_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="nobody wanted compressed"):
        receive(tmp_path, answer(0, CONTENT, WIRE), task_of(CONTENT), may_pack=False)
    assert not (tmp_path / "big").exists()


def test_a_packed_answer_may_not_refer_to_what_another_connection_brought() -> None:
    _, second = packed(CONTENT, CONTENT)
    with pytest.raises(NotWhatWasPacked):
        list(Unpacker().pieces(memoryview(second), len(CONTENT)))


@given(st.binary(max_size=4096), st.sampled_from([1, 6, 9]), st.integers(1, 64))
def test_no_honest_part_is_longer_than_what_is_taken_for_possible(content: bytes, level: int, times: int) -> None:
    stream = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    for _ in range(3):
        part = stream.compress(content * times) + stream.flush(zlib.Z_SYNC_FLUSH)
        assert len(part) <= most_packed(len(content) * times)


def test_the_rate_is_that_of_the_line_only_where_the_line_is_waited_for() -> None:
    pace = Pace()
    assert pace.came(10 * MIB, 5.0) is None, "how long the first piece took says nothing"
    pace.done(5.0)
    assert pace.came(MIB, 5.0 + WINDOW_S / 2) is None
    pace.done(5.0 + WINDOW_S / 2)
    assert pace.came(MIB, 5.0 + WINDOW_S) == pytest.approx(2 * MIB / WINDOW_S)
    pace.done(5.0 + WINDOW_S)
    assert pace.came(MIB, 5.01 + WINDOW_S) is None
    pace.done(6.0 + WINDOW_S)
    assert pace.came(MIB, 6.01 + WINDOW_S) == math.inf, "this computer had its hands full meanwhile"


def test_a_rate_is_told_while_enough_is_under_way_and_only_when_it_is_another_one() -> None:
    feed = Feed(Orders(Order(task_of(b"", f"f{number}"), 0, CHUNK) for number in range(20)))
    lines = feed.lines()
    assert next(lines).startswith(b"[")
    assert not feed.may_pack
    feed.tell(5e6)
    assert next(lines) == b"5000000\n", "not held back until there is room for more orders"
    assert feed.may_pack
    feed.tell(7e6)
    feed.came(5 * CHUNK)
    assert next(lines).startswith(b"["), "not news enough"
    feed.tell(PACK_BELOW + 1)
    assert next(lines) == b"0\n"
    assert feed.may_pack, "an answer that is on its way may still be packed"
    feed.tell(math.inf)
    feed.came(20 * CHUNK)
    assert next(lines).startswith(b"["), "nothing new"


class Distant:
    """A connection to a machine far away, whose framed stream goes by paramiko or by the system's ssh."""

    round_trip_s = 0.05

    def __init__(self, host: ParamikoHost, *, bulk: bool) -> None:
        self._host, self._bulk = host, bulk
        self.endpoint, self.run, self.put, self.close = host.endpoint, host.run, host.put, host.close

    def stream(
        self, argv: Sequence[str], *, stdin: bytes | Iterable[bytes] = b"", chunk: int = 1 << 20, bulk: bool = False
    ) -> AbstractAsyncContextManager[ByteStream]:
        self._host.round_trip_s = 0.0 if self._bulk else 1.0
        return self._host.stream(argv, stdin=stdin, chunk=chunk, bulk=self._bulk)


@pytest.mark.anyio
@pytest.mark.parametrize("bulk", [False, True])
async def test_a_log_of_a_machine_far_away_comes_compressed_and_costs_what_came(
    far: Far, tmp_path: Path, bulk: bool
) -> None:
    contents = {"run.log": log(6 * MIB), "model.bin": noise(2 * MIB), **{f"s{n}.json": log(5000, n) for n in range(40)}}
    for name, content in contents.items():
        (far.out / name).write_bytes(content)

    async def connect() -> Any:
        return Distant(await far.connect(), bulk=bulk)

    receipt = await far.pull(tmp_path / "home", factory=connect)

    assert {name: (tmp_path / "home" / name).read_bytes() for name in contents} == contents
    assert receipt.bytes_transferred + receipt.bytes_saved == receipt.manifest.size
    assert 2 * MIB < receipt.bytes_transferred < 5 * MIB
    assert receipt.cost == pytest.approx(receipt.bytes_transferred / 1e9 * 0.02)
    assert receipt.estimated_cost == pytest.approx(receipt.manifest.size / 1e9 * 0.02)
