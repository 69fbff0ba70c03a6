"""Bringing a copy back from its bucket: the proven bytes under their names, or nothing."""

import json
import os
import shutil
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Route
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.errors import DigestMismatch, LocalDiskFull, RemoteChanged, TransferError
from remote_gpu_trainer.transfer.limits import Progress
from tests.bucket import BUCKET, Faults
from tests.unit.database.builders import receipt_of
from tests.unit.storage.conftest import LIMITS, MIB, PART, URL, buckets
from tests.unit.storage.killed import WHOLE

pytestmark = pytest.mark.anyio
SIZE = 3 * PART + 1000


@pytest.fixture
async def copy(s3: Any, faults: Faults, tmp_path: Path) -> CopyReceipt:
    """A copy of a large and a small file that lies in a bucket and nowhere else."""
    return await stored(faults, tmp_path)


async def stored(faults: Faults, tmp_path: Path) -> CopyReceipt:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(SIZE))
    (folder / "small").write_bytes(b"small")
    receipt = await buckets(tmp_path / "home").store(receipt_of(folder), URL, None)
    shutil.rmtree(folder)
    faults.heal()
    return receipt


async def back(copy: CopyReceipt, progress: list[Progress] | None = None, **limits: int) -> CopyReceipt:
    return await buckets(Path(copy.destination).parent / "home").restore(
        copy,
        Path(copy.destination),
        LIMITS.model_copy(update=limits),
        CopyId("copy-2"),
        None if progress is None else progress.append,
    )


def there(copy: CopyReceipt) -> list[str]:
    """Names at the destination, but not of unfinished files."""
    return sorted(path.name for path in Path(copy.destination).iterdir() if path.is_file())


def demand_whole(copy: CopyReceipt) -> None:
    now = receipt_of(Path(copy.destination)).manifest
    assert [(one.path, one.sha256) for one in now.files] == [(one.path, one.sha256) for one in copy.manifest.files]
    assert os.listdir(Path(copy.destination) / ".rgt-partial") == []


def noted(copy: CopyReceipt) -> dict[int, int]:
    """Where pieces of the large file are noted as here, and how long they are."""
    noted: dict[int, int] = {}
    for line in (Path(copy.destination) / ".rgt-partial" / "map.jsonl").read_bytes().splitlines():
        kind, _, offset, length, _ = json.loads(line.rpartition(b" ")[0])
        assert kind == "piece"
        noted[offset] = max(length, noted.get(offset, 0))
    return noted


def kept(copy: CopyReceipt) -> int:
    """Bytes of the large file that are noted as here."""
    return sum(noted(copy).values())


def on_reading_on(then: Callable[[], object]) -> Callable[[str, str], None]:
    """Do something when the large object is asked for from the middle of a part on, before it is given."""

    def look(address: str, stretch: str) -> None:
        if address.endswith("large") and int(stretch.removeprefix("bytes=").partition("-")[0]) % PART:
            then()

    return look


async def begun(faults: Faults, copy: CopyReceipt) -> int:
    """A copy whose bucket becomes unreadable after the first bytes of each part; how many of them are kept."""

    faults.cut_after_read = 3 * MIB
    faults.before_range = on_reading_on(lambda: faults.denied.add("GetObject"))
    with pytest.raises(TransferError, match=r"cannot be read.*AccessDenied.*No object that was there"):
        await back(copy)
    assert "large" not in there(copy)
    faults.heal()
    return kept(copy)


async def test_a_copy_comes_back_as_it_was(faults: Faults, copy: CopyReceipt) -> None:
    told: list[Progress] = []
    receipt = await back(copy, told)
    demand_whole(copy)
    assert (receipt.route, receipt.copy_id, receipt.manifest) == (Route.BUCKET, "copy-2", copy.manifest)
    assert receipt.bytes_transferred == faults.read == SIZE + 5
    assert (told[-1].files_done, told[-1].bytes_done) == (2, SIZE + 5)
    faults.heal()
    assert (await back(copy)).bytes_transferred == faults.read == 0


async def test_a_large_object_comes_in_its_parts_over_several_connections_at_once(
    faults: Faults, copy: CopyReceipt
) -> None:
    together = threading.Barrier(4)

    def meet(address: str, stretch: str) -> None:
        if address.endswith("large"):
            together.wait(timeout=20)

    faults.before_range = meet
    assert (await back(copy)).bytes_transferred == faults.read == SIZE + 5
    assert sorted(faults.ranges) == sorted(
        ["bytes=0-4", *(f"bytes={at}-{min(at + PART, SIZE) - 1}" for at in range(0, SIZE, PART))]
    )
    demand_whole(copy)


async def test_a_store_that_knows_no_parts_is_read_by_ranges(faults: Faults, copy: CopyReceipt) -> None:
    faults.knows_parts = False
    assert (await back(copy)).bytes_transferred == SIZE + 5
    demand_whole(copy)


async def test_a_part_that_came_otherwise_than_the_store_keeps_it_is_fetched_again_and_nothing_else(
    faults: Faults, copy: CopyReceipt
) -> None:
    faults.spoil = 2
    assert (await back(copy)).bytes_transferred == faults.read == SIZE + 5 + PART
    demand_whole(copy)


async def test_it_is_read_on_where_each_connection_was_cut(faults: Faults, copy: CopyReceipt) -> None:
    faults.cut_after_read = 3 * MIB
    assert (await back(copy)).bytes_transferred == SIZE + 5
    assert faults.read <= SIZE + 5 + 4 * MIB
    demand_whole(copy)


async def test_what_came_before_a_bucket_became_unreadable_is_not_fetched_again(
    faults: Faults, copy: CopyReceipt
) -> None:
    here = await begun(faults, copy)
    assert here >= 3 * MIB
    told: list[Progress] = []
    receipt = await back(copy, told)
    assert SIZE - here <= receipt.bytes_transferred == faults.read <= SIZE - here + 5
    assert told[-1].bytes_done == told[-1].bytes_total == SIZE + 5
    demand_whole(copy)


async def test_a_program_that_is_killed_in_the_middle_fetches_at_most_a_part_of_each_connection_again(
    faults: Faults, copy: CopyReceipt, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "receipt.json").write_text(copy.model_dump_json())
    tick, over = threading.Event(), threading.Event()

    def hold(address: str, stretch: str) -> None:
        if stretch.startswith(f"bytes={2 * PART}-"):
            over.wait(timeout=30)

    def wait_for_two_parts() -> None:
        for _ in range(3000):
            if (Path(copy.destination) / ".rgt-partial" / "map.jsonl").exists() and kept(copy) >= 2 * PART:
                return
            tick.wait(0.01)

    faults.before_range = hold
    command = [sys.executable, "-m", "tests.unit.storage.killed", "fetch", str(home), copy.destination, str(WHOLE)]
    async with await anyio.open_process(command) as process:
        await anyio.to_thread.run_sync(wait_for_two_parts)
        process.kill()
        over.set()
    faults.heal()
    here = kept(copy)
    assert here >= 2 * PART
    assert SIZE - here <= (await back(copy)).bytes_transferred <= SIZE - here + 5
    demand_whole(copy)


async def test_an_object_that_is_not_the_proven_one_any_more_gets_no_name_here(
    s3: Any, faults: Faults, copy: CopyReceipt
) -> None:
    s3.put_object(Bucket=BUCKET, Key="run-1/large", Body=bytes(SIZE))
    with pytest.raises(RemoteChanged, match=r"large in .* another object than the proven one.*not given its name"):
        await back(copy)
    assert "large" not in there(copy)


def replaced(s3: Any, faults: Faults, copy: CopyReceipt) -> None:
    """Let another object take the place of the large one when the first bytes of each part are here."""

    def replace() -> None:
        faults.before_range = None
        s3.put_object(Bucket=BUCKET, Key="run-1/large", Body=bytes(SIZE))

    faults.cut_after_read, faults.before_range = 3 * MIB, on_reading_on(replace)


async def test_an_object_that_is_replaced_under_the_reader_gets_no_name_here(
    s3: Any, faults: Faults, copy: CopyReceipt
) -> None:
    replaced(s3, faults, copy)
    with pytest.raises(RemoteChanged):
        await back(copy)
    assert "large" not in there(copy)


async def test_in_a_bucket_that_keeps_versions_the_proven_one_comes_back_whatever_took_its_place(
    s3: Any, faults: Faults, tmp_path: Path
) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    copy = await stored(faults, tmp_path)
    large, small = (copy.bucket or pytest.fail("it is in no bucket")).objects
    assert large.version and small.version
    s3.delete_object(Bucket=BUCKET, Key="run-1/small")
    replaced(s3, faults, copy)
    assert (await back(copy)).bytes_transferred == SIZE + 5
    demand_whole(copy)


async def test_a_version_that_was_deleted_is_gone(s3: Any, faults: Faults, tmp_path: Path) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    copy = await stored(faults, tmp_path)
    for one in (copy.bucket or pytest.fail("it is in no bucket")).objects:
        s3.delete_object(Bucket=BUCKET, Key=f"run-1/{one.path}", VersionId=one.version)
    with pytest.raises(RemoteChanged):
        await back(copy)
    assert there(copy) == []


async def test_memory_does_not_grow_with_the_object(s3: Any, tmp_path: Path) -> None:
    folder, home = tmp_path / "copy", tmp_path / "home"
    folder.mkdir()
    with (folder / "large").open("wb") as file:
        file.truncate(96 * MIB)
    copy = await buckets(home).store(receipt_of(folder), URL, None)
    (home / "receipt.json").write_text(copy.model_dump_json())
    shutil.rmtree(folder)
    command = [sys.executable, "-m", "tests.unit.storage.killed", "fetch", str(home), copy.destination, str(WHOLE)]
    grown = int((await anyio.run_process(command)).stdout)
    demand_whole(copy)
    assert grown < 64 * 1024, f"{grown} KiB"


async def test_a_damaged_piece_is_fetched_anew_and_the_others_are_not(faults: Faults, copy: CopyReceipt) -> None:
    here = await begun(faults, copy)
    half = max((Path(copy.destination) / ".rgt-partial").iterdir(), key=lambda one: one.stat().st_size)
    with half.open("r+b") as file:
        file.seek(max(noted(copy)))
        file.write(bytes(900))
    faults.heal()
    assert SIZE - here < (await back(copy)).bytes_transferred <= SIZE - here + PART + 5
    demand_whole(copy)


async def test_a_store_that_gives_other_bytes_under_the_same_etag_is_not_believed(
    faults: Faults, copy: CopyReceipt
) -> None:
    lying = copy.manifest.model_copy(
        update={"entries": tuple(one.model_copy(update={"sha256": "0" * 64}) for one in copy.manifest.entries)}
    )
    with pytest.raises(DigestMismatch, match="other bytes than were proven"):
        await back(copy.model_copy(update={"manifest": lying}))
    assert there(copy) == []


async def test_a_file_that_is_here_is_replaced_only_by_proven_bytes(s3: Any, faults: Faults, copy: CopyReceipt) -> None:
    await anyio.Path(copy.destination).mkdir()
    await anyio.Path(copy.destination, "large").write_bytes(b"mine")
    faults.denied.add("GetObject")
    with pytest.raises(TransferError):
        await back(copy)
    assert (Path(copy.destination) / "large").read_bytes() == b"mine"
    faults.heal()
    await back(copy)
    demand_whole(copy)


async def test_a_disk_without_room_stops_it_before_the_first_byte(faults: Faults, copy: CopyReceipt) -> None:
    with pytest.raises(LocalDiskFull, match=r"15\.0 MiB are still to come.*Nothing was copied"):
        await back(copy, keep_free_bytes=1 << 60)
    assert faults.read == 0
    assert there(copy) == []


async def test_a_disk_that_is_full_in_the_middle_ends_it_cleanly(
    faults: Faults, copy: CopyReceipt, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "receipt.json").write_text(copy.model_dump_json())
    command = [sys.executable, "-m", "tests.unit.storage.killed", "fetch", str(home), copy.destination, str(2 * PART)]
    said = (await anyio.run_process(command)).stdout.decode()
    assert "[local_disk_full] no room is left under" in said
    assert "no finished file was touched" in said
    assert "large" not in there(copy)
    faults.heal()
    here = kept(copy)
    assert (await back(copy)).bytes_transferred <= SIZE + 5 - here
    demand_whole(copy)


async def test_a_disk_that_has_no_room_even_for_the_map_ends_it_the_same_way(
    faults: Faults, copy: CopyReceipt, tmp_path: Path
) -> None:
    home, partials = tmp_path / "home", Path(copy.destination) / ".rgt-partial"
    (home / "receipt.json").write_text(copy.model_dump_json())
    partials.mkdir(parents=True)
    line = json.dumps(["forget", "x" * 1000]).encode()
    (partials / "map.jsonl").write_bytes(1024 * (line + b" %08x\n" % zlib.crc32(line)))
    command = [sys.executable, "-m", "tests.unit.storage.killed", "fetch", str(home), copy.destination, str(MIB)]
    said = (await anyio.run_process(command)).stdout.decode()
    assert "[local_disk_full] no room is left under" in said
    assert "large" not in there(copy)
