"""Large files on their way into a bucket: what is cut goes on, and nothing is left there that nobody names."""

import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from remote_gpu_trainer.domain.artifacts import BucketCopy
from remote_gpu_trainer.domain.uploads import Upload
from remote_gpu_trainer.errors import DigestMismatch, TransferError
from remote_gpu_trainer.storage import BucketUrl, NoteFolder, S3Store
from remote_gpu_trainer.transfer.limits import Progress, ProgressSink
from tests.bucket import BUCKET, Faults
from tests.unit.database.builders import receipt_of
from tests.unit.storage.conftest import AT_ONCE, MIB, PART, URL, buckets
from tests.unit.storage.killed import WHOLE

pytestmark = pytest.mark.anyio
SIZE = 6 * PART + 1000
NAME = "model"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy with one file of seven parts."""
    made = tmp_path / "copy"
    made.mkdir()
    (made / NAME).write_bytes(os.urandom(SIZE))
    return made


async def store(home: Path, folder: Path, progress: ProgressSink | None = None) -> BucketCopy:
    found = (await buckets(home).store(receipt_of(folder), URL, progress)).bucket
    assert found is not None
    return found


def stored(s3: Any) -> bytes:
    return bytes(s3.get_object(Bucket=BUCKET, Key=f"run-1/{NAME}")["Body"].read())


def unfinished(s3: Any) -> list[str]:
    return [str(one["UploadId"]) for one in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


def noted(home: Path) -> list[Upload]:
    return NoteFolder(home / "uploads").noted()


async def killed(home: Path, folder: Path, faults: Faults, most: int) -> None:
    """Another process sends until so many bytes are there, and dies."""
    command = [sys.executable, "-m", "tests.unit.storage.killed", "send", str(home), str(folder), str(most)]
    ended = await anyio.run_process(command, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    await anyio.to_thread.run_sync(faults.rest)


async def begun(home: Path, folder: Path, faults: Faults, parts: int = 4) -> None:
    """A copy whose network fails once so many parts came through."""
    faults.cut_after_sent = parts * PART
    with pytest.raises(TransferError):
        await store(home, folder)
    faults.heal()


async def test_what_a_killed_program_has_sent_is_not_sent_again(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await killed(home, folder, faults, 3 * PART)
    before = faults.received
    assert 3 * PART < before < SIZE
    (left,) = unfinished(s3)
    assert [one.upload for one in noted(home)] == [left]
    (at_least,) = [sum(p["Size"] for p in s3.list_parts(Bucket=BUCKET, Key=f"run-1/{NAME}", UploadId=left)["Parts"])]

    faults.asked.clear()
    copy = await store(home, folder)
    assert faults.received - before == SIZE - at_least == copy.bytes_stored
    assert faults.received <= SIZE + AT_ONCE * PART
    assert "CreateMultipartUpload" not in faults.asked
    assert stored(s3) == (folder / NAME).read_bytes()
    assert [one.proven_by for one in copy.objects] == ["stored-checksum"]
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_a_program_that_was_killed_before_it_completed_sends_nothing_again(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await killed(home, folder, faults, SIZE - 1)
    assert len(unfinished(s3)) == 1
    faults.heal()
    assert (await store(home, folder)).bytes_stored == faults.received == 0
    assert stored(s3) == (folder / NAME).read_bytes()
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_a_note_of_an_upload_that_was_completed_is_forgotten(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    (note,) = noted(home)
    await store(home, folder)
    NoteFolder(home / "uploads").begin(note).close()
    faults.heal()
    assert (await store(home, folder)).bytes_stored == faults.received == 0
    assert noted(home) == []


async def test_a_large_file_goes_in_several_parts_at_once(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    together = threading.Barrier(AT_ONCE)

    def meet(operation: str) -> None:
        if operation == "UploadPart" and faults.asked.count("UploadPart") <= AT_ONCE:
            together.wait(timeout=20)

    faults.before = meet
    assert (await store(home, folder)).bytes_stored == SIZE
    assert stored(s3) == (folder / NAME).read_bytes()


async def test_a_cut_says_that_parts_remain_and_the_next_call_goes_on(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    faults.cut_after_sent = 4 * PART
    with pytest.raises(TransferError, match=r"parts of 1 unfinished object\(s\), \d.*are billed.*goes on from them"):
        await store(home, folder)
    came = faults.received
    faults.heal()
    copy = await store(home, folder)
    assert came + faults.received <= SIZE + AT_ONCE * PART
    assert copy.bytes_stored == faults.received < SIZE
    assert stored(s3) == (folder / NAME).read_bytes()


async def test_a_cancel_ends_soon_and_the_next_call_goes_on(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    with anyio.CancelScope() as scope:

        def tell(progress: Progress) -> None:
            if progress.bytes_done >= 2 * PART:
                scope.cancel()

        await store(home, folder, tell)
    assert scope.cancelled_caught
    assert faults.received < SIZE
    assert "CompleteMultipartUpload" not in faults.asked
    faults.heal()
    assert 0 < (await store(home, folder)).bytes_stored < SIZE
    assert stored(s3) == (folder / NAME).read_bytes()
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_a_cancel_ends_parts_in_their_middle(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    token = anyio.lowlevel.current_token()
    with anyio.CancelScope() as scope:

        def stop(operation: str) -> None:
            if operation == "UploadPart":  # the sender has begun, and nobody has read a byte yet
                anyio.from_thread.run_sync(scope.cancel, token=token)

        faults.before = stop
        await store(home, folder)
    await anyio.to_thread.run_sync(faults.rest)
    assert scope.cancelled_caught
    (left,) = unfinished(s3)
    assert "Parts" not in s3.list_parts(Bucket=BUCKET, Key=f"run-1/{NAME}", UploadId=left)
    assert len(noted(home)) == 1


async def test_an_upload_that_a_rule_of_the_bucket_ended_begins_anew(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    s3.abort_multipart_upload(Bucket=BUCKET, Key=f"run-1/{NAME}", UploadId=unfinished(s3)[0])
    faults.heal()
    assert (await store(home, folder)).bytes_stored == SIZE
    assert stored(s3) == (folder / NAME).read_bytes()
    assert "AbortMultipartUpload" not in faults.asked
    assert noted(home) == []


async def test_an_upload_that_is_ended_under_the_sender_begins_anew(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    def end_it(operation: str) -> None:
        if faults.asked.count("UploadPart") == 5:
            faults.before = None
            s3.abort_multipart_upload(Bucket=BUCKET, Key=f"run-1/{NAME}", UploadId=unfinished(s3)[0])

    faults.before = end_it
    assert SIZE < (await store(home, folder)).bytes_stored < 2 * SIZE
    assert stored(s3) == (folder / NAME).read_bytes()
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_a_file_that_changed_meanwhile_begins_anew_and_its_old_parts_are_ended(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    (old,) = unfinished(s3)
    (folder / NAME).write_bytes(os.urandom(SIZE))
    assert (await store(home, folder)).bytes_stored == SIZE
    assert stored(s3) == (folder / NAME).read_bytes()
    assert "AbortMultipartUpload" in faults.asked
    assert old not in unfinished(s3)
    assert noted(home) == []


async def test_a_file_that_changes_while_it_is_sent_replaces_nothing_and_leaves_no_parts(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"run-1/{NAME}", Body=b"earlier")

    def change(operation: str) -> None:
        if operation == "UploadPart":
            faults.before = None
            with (folder / NAME).open("r+b") as file:
                file.seek(SIZE - 5)
                file.write(b"other")

    faults.before = change
    with pytest.raises(DigestMismatch, match="not what was copied any more"):
        await store(home, folder)
    assert stored(s3) == b"earlier"
    assert (unfinished(s3), noted(home)) == ([], [])


@pytest.mark.parametrize("checksums", [True, False])
async def test_a_listed_part_is_believed_only_for_its_bytes(
    s3: Any, faults: Faults, home: Path, folder: Path, checksums: bool
) -> None:
    await begun(home, folder, faults)
    (left,) = unfinished(s3)
    target = {"Bucket": BUCKET, "Key": f"run-1/{NAME}", "UploadId": left}
    known = [part["PartNumber"] for part in s3.list_parts(**target)["Parts"]]
    s3.upload_part(**target, PartNumber=known[0], Body=bytes(PART))
    faults.heal()
    faults.lists_checksums = checksums
    copy = await store(home, folder)
    kept = sum(min(PART, SIZE - (number - 1) * PART) for number in known[1:])
    assert copy.bytes_stored == faults.received == SIZE - kept
    assert stored(s3) == (folder / NAME).read_bytes()


async def test_parts_of_another_length_are_ended(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    await begun(home, folder, faults)
    (old,) = unfinished(s3)
    (note,) = noted(home)
    for place in (home / "uploads").iterdir():
        place.unlink()
    NoteFolder(home / "uploads").begin(note.model_copy(update={"part_bytes": 6 * MIB})).close()
    assert (await store(home, folder)).bytes_stored == SIZE
    assert old not in unfinished(s3)
    assert noted(home) == []


async def test_parts_that_may_not_be_looked_at_are_ended_and_sent_anew(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    faults.denied.add("ListParts")
    assert (await store(home, folder)).bytes_stored == SIZE
    assert stored(s3) == (folder / NAME).read_bytes()
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_an_upload_that_may_not_be_ended_is_named_with_its_size_until_it_is_gone(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    (old,) = unfinished(s3)
    (folder / NAME).write_bytes(b"another file by now")
    faults.denied.add("AbortMultipartUpload")
    for _ in range(2):
        (said,) = [one for one in (await store(home, folder)).warnings if "unfinished" in one]
        assert f"an unfinished upload of {NAME} (" in said
        assert " MiB) bills on" in said
        assert f"--upload-id {old}" in said
    faults.heal()
    assert not [one for one in (await store(home, folder)).warnings if "unfinished" in one]
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_an_upload_that_was_not_begun_here_is_named_and_left_alone(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    elsewhere = s3.create_multipart_upload(Bucket=BUCKET, Key=f"run-1/{NAME}")["UploadId"]
    target = {"Bucket": BUCKET, "Key": f"run-1/{NAME}", "UploadId": elsewhere}
    s3.upload_part(**target, PartNumber=1, Body=bytes(PART))
    (said,) = [one for one in (await store(home, folder)).warnings if "unfinished" in one]
    assert f"an unfinished upload of {NAME} (5.0 MiB, begun 2010-11-10) bills there" in said
    assert "left alone" in said
    assert f"aws s3api abort-multipart-upload --bucket {BUCKET} --key run-1/{NAME} --upload-id {elsewhere}" in said
    assert unfinished(s3) == [elsewhere]
    assert len(s3.list_parts(**target)["Parts"]) == 1


async def test_another_computer_neither_ends_nor_takes_up_what_this_one_began(
    s3: Any, faults: Faults, home: Path, folder: Path, tmp_path: Path
) -> None:
    await begun(home, folder, faults)
    (ours,) = unfinished(s3)
    assert (await store(tmp_path / "another home", folder)).bytes_stored == SIZE
    assert unfinished(s3) == [ours]


async def test_a_key_that_may_not_list_uploads_still_copies_and_says_so(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    faults.denied.add("ListMultipartUploads")
    copy = await store(home, folder)
    assert 0 < copy.bytes_stored < SIZE
    (said,) = [one for one in copy.warnings if "unfinished" in one]
    assert "may lie there and bill" in said
    assert "AccessDenied" in said


async def test_what_a_living_copy_sends_is_not_touched_by_another_one(
    s3: Any, faults: Faults, home: Path, folder: Path
) -> None:
    await begun(home, folder, faults)
    (ours,) = unfinished(s3)
    (living,) = NoteFolder(home / "uploads").left()
    copy = await store(home, folder)
    assert copy.bytes_stored == SIZE
    assert not [one for one in copy.warnings if "unfinished" in one]
    assert unfinished(s3) == [ours]
    living.close()
    await store(home, folder)
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_two_copies_of_the_same_at_once_both_end_well(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(store, home, folder)
        group.start_soon(store, home, folder)
    assert stored(s3) == (folder / NAME).read_bytes()
    assert (unfinished(s3), noted(home)) == ([], [])


async def test_a_note_for_another_store_is_kept(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    await begun(home, folder, faults)
    (note,) = noted(home)
    for place in (home / "uploads").iterdir():
        place.unlink()
    elsewhere = note.model_copy(update={"place": "https://s3.elsewhere.example"})
    NoteFolder(home / "uploads").begin(elsewhere).close()
    assert (await store(home, folder)).bytes_stored == SIZE
    assert noted(home) == [elsewhere]


async def test_nothing_is_sent_where_it_could_not_be_noted(s3: Any, faults: Faults, home: Path, folder: Path) -> None:
    os.symlink("nowhere", home)
    with pytest.raises(TransferError, match=r"cannot be noted.*Nothing of that file was sent"):
        await store(home, folder)
    assert faults.received == 0
    assert unfinished(s3) == []


async def test_memory_does_not_grow_with_the_file(s3: Any, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(3):
        with (folder / str(number)).open("wb") as file:
            file.truncate(64 * MIB)
    command = [sys.executable, "-m", "tests.unit.storage.killed", "send", str(home), str(folder), str(WHOLE)]
    grown = int((await anyio.run_process(command)).stdout)
    assert grown < 64 * 1024, f"{grown} KiB"


async def test_an_object_is_read_on_where_each_connection_was_cut(s3: Any, faults: Faults, folder: Path) -> None:
    content = (folder / NAME).read_bytes()
    s3.put_object(Bucket=BUCKET, Key=f"run-1/{NAME}", Body=content)
    faults.cut_after_read = 3 * PART
    copy = await store(folder.parent / "home", folder)
    assert [one.proven_by for one in copy.objects] == ["read-back"]
    assert faults.received == 0
    starts = [int(one.removeprefix("bytes=").partition("-")[0]) for one in faults.ranges]
    assert starts == sorted(starts)
    assert len(starts) == 3
    assert faults.read <= SIZE + len(starts) * MIB


async def test_an_object_that_is_replaced_under_the_reader_is_noticed(s3: Any, faults: Faults, folder: Path) -> None:
    content = (folder / NAME).read_bytes()
    s3.put_object(Bucket=BUCKET, Key=f"run-1/{NAME}", Body=bytes(SIZE))

    def replace(operation: str) -> None:
        if operation == "GetObject" and faults.read:
            faults.before = None
            s3.put_object(Bucket=BUCKET, Key=f"run-1/{NAME}", Body=content)

    faults.cut_after_read, faults.before = 3 * PART, replace
    copy = await store(folder.parent / "home", folder)
    assert [one.proven_by for one in copy.objects] == ["read-back"]
    assert faults.received == 0
    faults.heal()
    assert stored(s3) == content


async def test_a_store_that_stops_sending_in_the_middle_ends_the_copy(s3: Any, faults: Faults, folder: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"run-1/{NAME}", Body=(folder / NAME).read_bytes())
    faults.cut_after_read = 0
    with pytest.raises(TransferError, match=r"cannot be read.*No object that was there before"):
        await store(folder.parent / "home", folder)


def test_the_parts_of_a_huge_file_are_no_more_than_a_store_takes(s3: Any) -> None:
    each = S3Store(BucketUrl.parse(URL)).part_bytes(5 << 40)
    assert each is not None
    assert -(-(5 << 40) // each) <= 10_000


def test_a_note_is_whole_or_not_there(tmp_path: Path) -> None:
    notes = NoteFolder(tmp_path / "uploads")
    note = Upload(
        place="https://s3.example",
        url=URL,
        path="a/model",
        upload="id",
        size=SIZE,
        sha256="0" * 64,
        part_bytes=PART,
        begun_at=datetime.now(UTC),
    )
    held = notes.begin(note)
    assert (notes.left(), notes.noted()) == ([], [note])
    held.close()
    (tmp_path / "uploads" / "half.json").write_text('{"place": ')
    (again,) = notes.left()
    assert again.upload == note
    again.end()
    assert notes.noted() == []
