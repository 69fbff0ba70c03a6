"""Bringing a copy back from its bucket: the proven bytes under their names, or nothing."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Route
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.errors import DigestMismatch, LocalDiskFull, RemoteChanged, TransferError
from remote_gpu_trainer.transfer.limits import Progress
from tests.bucket import BLOCK, BUCKET, Faults
from tests.unit.storage.conftest import LIMITS, MIB, PART, URL, buckets, receipt_of

pytestmark = pytest.mark.anyio
SIZE = 3 * PART + 1000


@pytest.fixture
async def copy(s3: Any, faults: Faults, tmp_path: Path) -> CopyReceipt:
    """A copy of a large and a small file that lies in a bucket and nowhere else."""
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


async def test_a_copy_comes_back_as_it_was(faults: Faults, copy: CopyReceipt) -> None:
    told: list[Progress] = []
    receipt = await back(copy, told)
    demand_whole(copy)
    assert (receipt.route, receipt.copy_id, receipt.manifest) == (Route.BUCKET, "copy-2", copy.manifest)
    assert receipt.bytes_transferred == faults.read == SIZE + 5
    assert (told[-1].files_done, told[-1].bytes_done) == (2, SIZE + 5)
    faults.heal()
    assert (await back(copy)).bytes_transferred == faults.read == 0


async def test_it_is_read_on_where_each_connection_was_cut(faults: Faults, copy: CopyReceipt) -> None:
    faults.cut_after_read = 2 * PART
    assert (await back(copy)).bytes_transferred == SIZE + 5
    assert faults.read <= SIZE + 5 + MIB
    demand_whole(copy)


async def test_what_came_before_a_bucket_became_unreadable_is_not_fetched_again(
    faults: Faults, copy: CopyReceipt
) -> None:
    def refuse(operation: str) -> None:
        if operation == "GetObject" and faults.read > PART:
            faults.denied.add("GetObject")

    faults.cut_after_read, faults.before = 2 * PART, refuse
    with pytest.raises(TransferError, match=r"cannot be read.*AccessDenied.*No object that was there"):
        await back(copy)
    assert "large" not in there(copy)
    before = faults.read
    faults.heal()
    receipt = await back(copy)
    assert before + faults.read <= SIZE + 5 + MIB
    assert receipt.bytes_transferred == faults.read < SIZE - PART
    demand_whole(copy)


async def test_an_object_that_is_not_the_proven_one_any_more_gets_no_name_here(
    s3: Any, faults: Faults, copy: CopyReceipt
) -> None:
    s3.put_object(Bucket=BUCKET, Key="run-1/large", Body=bytes(SIZE))
    with pytest.raises(RemoteChanged, match=r"large in .* another object than the proven one.*not given its name"):
        await back(copy)
    assert "large" not in there(copy)


async def test_an_object_that_is_replaced_under_the_reader_gets_no_name_here(
    s3: Any, faults: Faults, copy: CopyReceipt
) -> None:
    def replace(operation: str) -> None:
        if operation == "GetObject" and faults.read > PART:
            faults.before = None
            s3.put_object(Bucket=BUCKET, Key="run-1/large", Body=bytes(SIZE))

    faults.cut_after_read, faults.before = 2 * PART, replace
    with pytest.raises(RemoteChanged):
        await back(copy)
    assert "large" not in there(copy)


async def test_a_damaged_beginning_is_fetched_anew(faults: Faults, copy: CopyReceipt) -> None:
    faults.cut_after_read = 2 * PART
    faults.before = lambda operation: faults.denied.add("GetObject") if faults.read > PART else None
    with pytest.raises(TransferError):
        await back(copy)
    (half,) = (Path(copy.destination) / ".rgt-partial").iterdir()
    half.write_bytes(bytes(PART))
    faults.heal()
    assert (await back(copy)).bytes_transferred > SIZE
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
    assert (await back(copy)).bytes_transferred <= SIZE + 5 - 2 * PART + BLOCK
    demand_whole(copy)
