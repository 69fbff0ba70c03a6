"""The framed stream without a network: chains of ranges, two connections, and who is asked for what."""

import errno
import hashlib
import itertools
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.errors import TransferError
from remote_gpu_trainer.transfer.chunks import ChunkMap
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.orders import AHEAD, Feed, Orders
from remote_gpu_trainer.transfer.receiver import HEADER, Receiver
from remote_gpu_trainer.transfer.shelf import BATCH_FILES, Shelf
from remote_gpu_trainer.transfer.tasks import CHUNK, FileTask, Order, recall

CONTENT = bytes(range(256)) * ((9 << 20) // 256)
"""Three ranges."""


def task_of(content: bytes = CONTENT, path: str = "big") -> FileTask:
    return FileTask("/far", path, path, "lease", len(content), 7)


@contextmanager
def shelf_in(where: Path | Landing, *, batch_files: int = BATCH_FILES) -> Generator[Shelf]:
    landing = Landing(where) if isinstance(where, Path) else where
    chunks = ChunkMap(landing)
    shelf = Shelf(landing, chunks, batch_files=batch_files)
    try:
        yield shelf
    finally:
        shelf.close()
        chunks.close()
        landing.close()


def answer(number: int, order: Order, digest: bytes, content: bytes = CONTENT) -> bytes:
    body = content[order.offset : order.offset + order.length]
    return HEADER.pack(number, 0, len(body)) + body + digest + b"\1"


def nobody(size: int, wire: int, answered: bool) -> None:
    """Who is not told of progress."""


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def test_ranges_that_follow_each_other_are_proven_by_the_hash_of_the_beginning(tmp_path: Path) -> None:
    task = task_of()
    orders = task.orders(chain=True)
    with shelf_in(tmp_path) as shelf:
        receiver = Receiver(orders, shelf, nobody)
        for number, order in enumerate(orders):
            receiver.feed(answer(number, order, sha(CONTENT[: order.offset + order.length])))
        receiver.end()
    assert task.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "big").read_bytes() == CONTENT


def test_a_range_with_the_hash_of_another_beginning_is_refused(tmp_path: Path) -> None:
    task = task_of()
    orders = task.orders(chain=True)
    with shelf_in(tmp_path) as shelf:
        receiver = Receiver(orders, shelf, nobody)
        receiver.feed(answer(0, orders[0], sha(CONTENT[:CHUNK])))
        with pytest.raises(TransferError, match="not its own"):
            receiver.feed(answer(1, orders[1], sha(CONTENT[CHUNK : 2 * CHUNK])))
        receiver.abandon()
    assert task.have == [(0, CHUNK)]
    assert not (tmp_path / "big").exists()


def test_a_chain_that_the_machine_broke_off_leaves_nothing_believed_of_the_changed_file(tmp_path: Path) -> None:
    task = task_of()
    orders = task.orders(chain=True)
    reason = b"changed since it was listed"
    with shelf_in(tmp_path) as shelf:
        receiver = Receiver(orders, shelf, nobody)
        receiver.feed(answer(0, orders[0], sha(CONTENT[:CHUNK])))
        receiver.feed(HEADER.pack(1, 1, len(reason)) + reason)
        receiver.feed(answer(2, orders[2], sha(CONTENT[2 * CHUNK :])))
        receiver.end()
    assert task.changed
    assert task.have == [(0, CHUNK)], "what came before the change; the file begins anew"


def test_ranges_over_two_connections_make_one_proven_file_in_whatever_turn_they_come(tmp_path: Path) -> None:
    for turns in itertools.permutations(range(3)):
        folder = tmp_path / "".join(map(str, turns))
        task = task_of()
        orders = task.orders()
        with shelf_in(folder) as shelf:
            for number in turns:
                order = orders[number]
                receiver = Receiver([order], shelf, nobody)
                receiver.feed(answer(0, order, sha(CONTENT[order.offset : order.offset + order.length])))
                receiver.end()
        assert task.sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert (folder / "big").read_bytes() == CONTENT


def test_a_beginning_is_believed_as_far_as_it_hashes_to_what_was_noted(tmp_path: Path) -> None:
    task = task_of()
    orders = task.orders(chain=True)
    with shelf_in(tmp_path) as shelf:
        receiver = Receiver(orders, shelf, nobody)
        for number in range(2):
            receiver.feed(answer(number, orders[number], sha(CONTENT[: (number + 1) * CHUNK])))
        receiver.abandon()
    partial = tmp_path / ".rgt-partial" / task.key
    with partial.open("r+b") as file:
        file.seek(CHUNK + 5)
        file.write(b"damage")

    again = task_of()
    landing = Landing(tmp_path)
    chunks = ChunkMap(landing)
    recall(again, landing, chunks)
    chunks.close()
    landing.close()

    assert again.have == [(0, CHUNK)]
    assert again.running.digest() == sha(CONTENT[:CHUNK])
    assert all(not order.follows for order in again.orders(chain=True)), "the machine has not hashed the beginning"


def test_a_note_of_a_small_file_waits_for_others_and_is_there_after_a_close(tmp_path: Path) -> None:
    content = b"small"
    task = task_of(content, "small")
    with shelf_in(tmp_path) as shelf:
        receiver = Receiver(task.orders(), shelf, nobody)
        receiver.feed(answer(0, task.orders()[0], sha(content), content))
        assert (tmp_path / ".rgt-partial" / "map.jsonl").read_bytes() == b""
    assert b'"piece"' in (tmp_path / ".rgt-partial" / "map.jsonl").read_bytes()


def keep(shelf: Shelf, *names: str) -> None:
    for name in names:
        shelf.keep_small(task_of(name.encode(), name), memoryview(name.encode()), sha(name.encode()).hex())


def named(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class SlowNames(Landing):
    """A folder in which a file gets its name once somebody says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.naming, self.go_on = threading.Event(), threading.Event()

    def publish(self, partial: str, path: str) -> None:
        self.naming.set()
        assert self.go_on.wait(30)
        super().publish(partial, path)


def test_files_go_on_arriving_while_others_get_their_names(tmp_path: Path) -> None:
    landing = SlowNames(tmp_path)
    with shelf_in(landing) as shelf:
        keep(shelf, "early")
        naming = threading.Thread(target=shelf.flush)
        naming.start()
        assert landing.naming.wait(30)
        arriving = threading.Thread(target=keep, args=(shelf, "late"))
        arriving.start()
        arriving.join(10)
        arrived = not arriving.is_alive() and not (tmp_path / "early").exists()
        landing.go_on.set()
        for thread in (arriving, naming):
            thread.join(30)
        shelf.flush()
    assert arrived
    assert [(tmp_path / name).read_bytes() for name in ("early", "late")] == [b"early", b"late"]


class OneSync(Landing):
    """A folder whose disk fails after the first sync."""

    syncs = 0

    def sync_all(self) -> bool:
        self.syncs += 1
        if self.syncs > 1:
            raise OSError(errno.EIO, "the disk is gone")
        return True


class LaterSyncsWait(Landing):
    """A folder whose disk takes long for every batch after so many."""

    def __init__(self, folder: Path, quick: int) -> None:
        super().__init__(folder)
        self.quick, self.go_on = quick, threading.Event()

    def sync_all(self) -> bool:
        self.quick -= 1
        return self.quick >= 0 or self.go_on.wait(30)


@pytest.mark.parametrize(("batches", "have_names"), [(1, 0), (2, 16), (3, 24)])
def test_the_first_batch_gets_its_names_with_the_next_one_or_at_the_end(
    tmp_path: Path, batches: int, have_names: int
) -> None:
    landing = LaterSyncsWait(tmp_path, batches)
    with shelf_in(landing, batch_files=8) as shelf:
        keep(shelf, *(f"f{number:02}" for number in range(8 * batches + 8)))  # waits for all batches but the last
        seen = named(tmp_path)
        landing.go_on.set()
        shelf.flush()
    assert seen == [f"f{number:02}" for number in range(have_names)]
    assert named(tmp_path) == [f"f{number:02}" for number in range(8 * batches + 8)]


def test_what_was_stored_gets_its_names_even_where_the_next_batch_cannot_be_stored(tmp_path: Path) -> None:
    with shelf_in(OneSync(tmp_path), batch_files=8) as shelf:
        keep(shelf, *(f"f{number:02}" for number in range(16)))
        with pytest.raises(OSError, match="the disk is gone"):
            shelf.flush()
    assert named(tmp_path) == [f"f{number:02}" for number in range(8)]


@given(sizes=st.lists(st.integers(0, 24 << 20), max_size=12))
def test_no_more_is_asked_for_than_may_be_under_way_and_all_of_it_in_the_end(sizes: list[int]) -> None:
    tasks = [task_of(b"", f"f{number}") for number in range(len(sizes))]
    feed = Feed(Orders(Order(task, 0, size) for task, size in zip(tasks, sizes, strict=True)))
    lines, answered = feed.lines(), list[int]()
    while next(lines, b""):
        waiting = feed.given[len(answered) :]
        assert sum(order.length for order in waiting[:-1]) < AHEAD
        for order in waiting:
            feed.came(order.length, answered=True)
            answered.append(order.length)
            with pytest.raises(IndexError, match="was answered"):
                feed.given[len(answered) - 1]
    assert (answered, len(feed.given)) == (sizes, len(sizes))


def test_a_feed_that_waits_for_answers_ends_when_its_connection_does() -> None:
    feed = Feed(Orders(Order(task_of(b"", f"f{number}"), 0, AHEAD) for number in range(2)))
    lines = feed.lines()
    assert next(lines)
    rest: list[bytes] = []
    waiting = threading.Thread(target=lambda: rest.extend(lines))
    waiting.start()
    feed.close()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert (rest, len(feed.given)) == ([], 1)
