import hashlib
import json
import os
import struct
import threading
import zlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import anyio
import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]  # its PathLike has no parameter

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import (
    EntryKind,
    Expectations,
    FileProof,
    Manifest,
    ManifestEntry,
    VerificationLevel,
    VerificationReport,
)
from remote_gpu_trainer.errors import InvalidRequest, UnsafePath
from remote_gpu_trainer.transfer.paths import PARTIAL_FOLDER
from remote_gpu_trainer.verify.fresh import FreshCopies, Known
from remote_gpu_trainer.verify.limits import VerifyLimits
from remote_gpu_trainer.verify.places import UNFINISHED
from remote_gpu_trainer.verify.run import verify
from tests.unit.database.builders import receipt_of


def run(
    folder: Path,
    manifest: Manifest | None = None,
    expect: Expectations | None = None,
    limits: VerifyLimits | None = None,
    known: dict[str, Known] | None = None,
    *,
    accept_unloaded: tuple[str, ...] = (),
    weights_must_load: bool = False,
) -> VerificationReport:
    async def go() -> VerificationReport:
        with anyio.fail_after(40):
            return await verify(
                folder,
                manifest=manifest,
                expect=expect,
                copy_id=None,
                clock=SystemClock(),
                limits=limits,
                known=known,
                accept_unloaded=accept_unloaded,
                weights_must_load=weights_must_load,
            )

    return anyio.run(go)


def proofs(report: VerificationReport) -> dict[str, FileProof]:
    return {proof.path: proof for proof in report.files}


def codes(proof: FileProof) -> set[str]:
    return {finding.code for finding in proof.findings}


def promise(folder: Path, *names: str, sha256: str | None = None, size: int | None = None) -> Manifest:
    entries: list[ManifestEntry] = []
    for name in names:
        data = (folder / name).read_bytes() if (folder / name).exists() else b""
        digest = sha256 or hashlib.sha256(data).hexdigest()
        length = len(data) if size is None else size
        entries.append(ManifestEntry(path=name, kind=EntryKind.FILE, size=length, mtime_ns=0, sha256=digest))
    return Manifest(root="/workspace", entries=tuple(entries))


def weights(path: Path, step: int = 7) -> None:
    arrays = {"a": np.ones((3, 4), np.float32), "b": np.ones(5, np.float16)}
    save_file(arrays, path, {"step": str(step)})


def test_each_common_format_loads_and_tells_its_facts(tmp_path: Path) -> None:
    weights(tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", np.arange(5.0))
    np.savez(tmp_path / "y.npz", a=np.arange(5), b=np.ones((2, 2), np.float32))
    (tmp_path / "r.json").write_text('{"loss": 1.5, "deep": {"acc": 0.5}}')
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    (tmp_path / "trainer_state.json").write_text('{"epoch": 0.48, "global_step": 7}')
    found = proofs(run(tmp_path))
    assert {proof.level for proof in found.values()} == {VerificationLevel.LOADS}
    assert found["m.safetensors"].facts["parameters"] == 17
    assert found["m.safetensors"].facts["step"] == 7
    assert found["y.npz"].facts["tensors"] == 2
    assert found["m.jsonl"].facts["step"] == 2
    assert found["trainer_state.json"].facts | {"epoch": 0.48, "step": 7} == found["trainer_state.json"].facts


def test_what_no_loader_knows_stays_at_digest_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "u.bin").write_bytes(b"anything")
    proof = run(tmp_path).files[0]
    assert (proof.level, proof.format, codes(proof)) == (VerificationLevel.DIGEST, None, {"no-loader"})
    assert proof.sha256 == hashlib.sha256(b"anything").hexdigest()


def test_nan_and_zero_weights_load_and_say_so(tmp_path: Path) -> None:
    save_file({"n": np.array([1, np.nan, np.inf], np.float16)}, tmp_path / "nan.safetensors")
    save_file({"z": np.zeros(9, np.float32)}, tmp_path / "zero.safetensors")
    found = proofs(run(tmp_path))
    assert found["nan.safetensors"].facts["nan_values"] == 1
    assert found["nan.safetensors"].facts["inf_values"] == 1
    assert codes(found["nan.safetensors"]) == {"nan"}
    assert codes(found["zero.safetensors"]) == {"all-zero"}
    assert all(proof.level is VerificationLevel.LOADS for proof in found.values())


def test_a_cut_last_metrics_line_is_a_warning_and_a_cut_middle_line_a_break(tmp_path: Path) -> None:
    (tmp_path / "tail.jsonl").write_text('{"step": 1}\n{"st')
    (tmp_path / "middle.jsonl").write_text('{"st\n{"step": 1}\n')
    found = proofs(run(tmp_path))
    assert (found["tail.jsonl"].level, codes(found["tail.jsonl"])) == (VerificationLevel.LOADS, {"truncated-tail"})
    assert (found["middle.jsonl"].level, codes(found["middle.jsonl"])) == (VerificationLevel.DIGEST, {"not-json"})


def test_a_wrong_size_is_only_present_and_a_wrong_digest_only_size(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    short = run(tmp_path, promise(tmp_path, "a.json", size=3))
    other = run(tmp_path, promise(tmp_path, "a.json", sha256="0" * 64))
    assert (short.files[0].level, codes(short.files[0])) == (VerificationLevel.PRESENT, {"size-mismatch"})
    assert (other.files[0].level, codes(other.files[0])) == (VerificationLevel.SIZE, {"digest-mismatch"})
    assert not short.passed
    assert not other.passed


def test_a_promised_file_that_is_absent_fails_the_report_and_an_unasked_one_takes_no_part(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "extra.json").write_text("{}")
    report = run(tmp_path, promise(tmp_path, "a.json", "gone.json"))
    assert report.missing == ("gone.json",)
    assert [proof.path for proof in report.files] == ["a.json"]
    assert not report.passed


def test_a_link_or_a_name_that_leads_out_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "link.json").symlink_to(tmp_path / "real.json")
    for name in ("link.json", "../real.json", "/etc/passwd"):
        with pytest.raises(UnsafePath):
            run(folder, promise(folder, name, sha256="0" * 64))


def test_what_a_copy_has_not_finished_takes_no_part(tmp_path: Path) -> None:
    assert UNFINISHED == PARTIAL_FOLDER
    (tmp_path / "a.json").write_text("{}")
    for folder in (tmp_path / UNFINISHED, tmp_path / "in" / UNFINISHED):
        folder.mkdir(parents=True)
        (folder / "map.jsonl").write_text("half")
    assert set(proofs(run(tmp_path))) == {"a.json", f"in/{UNFINISHED}/map.jsonl"}


def test_a_name_that_no_report_can_hold_is_refused(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.json", "wb") as file:
        file.write(b"{}")
    with pytest.raises(UnsafePath, match="not UTF-8"):
        run(tmp_path)


def test_a_file_that_is_written_while_it_is_verified_is_only_present(tmp_path: Path) -> None:
    path, verified = tmp_path / "weights.bin", threading.Event()
    with path.open("wb") as file:
        file.truncate(64 << 20)
    writing = threading.Thread(target=append_until, args=(path, verified))
    writing.start()
    try:
        proof = run(tmp_path).files[0]
    finally:
        verified.set()
        writing.join()
    assert (proof.level, codes(proof)) == (VerificationLevel.PRESENT, {"changed"})


def append_until(path: Path, over: threading.Event) -> None:
    """Append from another thread, again and again."""
    while not over.wait(0.001):
        with path.open("ab") as file:
            file.write(b"more")


def test_a_document_larger_than_is_read_whole_is_neither_loaded_nor_broken(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate((128 << 20) + 1)
    report = run(tmp_path)
    assert (report.files[0].level, codes(report.files[0])) == (VerificationLevel.DIGEST, {"too-large"})
    assert report.passed


def test_nothing_at_the_destination_is_an_error_not_an_empty_report(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        run(tmp_path / "none")


def test_expectations_that_hold_raise_the_files_they_speak_of(tmp_path: Path) -> None:
    weights(tmp_path / "m.safetensors", step=50)
    (tmp_path / "result.json").write_text(json.dumps({"loss": 0.25}))
    (tmp_path / "other.json").write_text("{}")
    expect = Expectations(
        files=("*.safetensors",), min_step=50, finite_metrics=("loss",), keys=("a",), metric_bounds={"loss": (0, 1)}
    )
    found = proofs(run(tmp_path, expect=expect))
    assert found["m.safetensors"].level is VerificationLevel.MEETS_EXPECTATIONS
    assert found["result.json"].level is VerificationLevel.MEETS_EXPECTATIONS
    assert found["other.json"].level is VerificationLevel.LOADS


@pytest.mark.parametrize(
    "expect",
    [
        Expectations(counts={"*.safetensors": 1, "**/*.json": 1}),
        Expectations(files=("*.json", "m.safetensors"), exact_roster=True),
        Expectations(min_count=2),
        Expectations(max_age_hours=1.0),
        Expectations(metric_bounds={"loss": (0.25, 0.25), "deep.acc": (None, None)}),
        Expectations(same_names_as="m.safetensors"),
        Expectations(min_level=VerificationLevel.LOADS),
    ],
    ids=lambda expect: ", ".join(expect.model_dump(exclude_defaults=True)),
)
def test_each_expectation_that_holds_lets_the_report_pass(tmp_path: Path, expect: Expectations) -> None:
    weights(tmp_path / "m.safetensors")
    (tmp_path / "result.json").write_text('{"loss": 0.25, "deep": {"acc": 1}}')
    assert run(tmp_path, expect=expect).passed


def test_nothing_is_imported_from_where_the_artifacts_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    home = tmp_path / "home"
    home.mkdir()
    evil = f"open({str(canary)!r}, 'w')\n"
    for module in ("torch", "numpy", "PIL", "json", "pyarrow", "sitecustomize", "usercustomize", "conftest", "zipfile"):
        (home / f"{module}.py").write_text(evil)
        (home / f"{module}.so").write_bytes(b"\x7fELF")
        (home / f"{module}{EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")
    (home / "evil.pth").write_text(f"import os; {evil}")
    (home / "evil-1.dist-info").mkdir()
    (home / "evil-1.dist-info" / "entry_points.txt").write_text("[torch.backends]\nevil = conftest:open\n")
    (home / "pyvenv.cfg").write_text("home = .\n")
    weights(home / "m.safetensors")
    (home / "m.pt").write_bytes(b"PK\x03\x04")
    (home / "i.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(home)
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_LIBRARY_PATH", "PYTHONPLATLIBDIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("PYTHONSTARTUP", str(home / "conftest.py"))
    monkeypatch.setenv("PYTHONINSPECT", "1")
    assert proofs(run(home))["m.safetensors"].level is VerificationLevel.LOADS
    assert not canary.exists()


@pytest.mark.parametrize(
    "expect",
    [
        Expectations(min_step=51),
        Expectations(finite_metrics=("bad",)),
        Expectations(finite_metrics=("absent",)),
        Expectations(metric_bounds={"loss": (None, 0.1)}),
        Expectations(keys=("a", "absent")),
        Expectations(counts={"*.safetensors": 2}),
        Expectations(files=("*.json",), exact_roster=True),
        Expectations(max_age_hours=-1.0),
        Expectations(min_count=9),
        Expectations(same_names_as="absent.safetensors"),
        Expectations(files=("u.bin",), min_level=VerificationLevel.LOADS),
    ],
)
def test_each_expectation_that_does_not_hold_is_named_and_raises_nothing(tmp_path: Path, expect: Expectations) -> None:
    weights(tmp_path / "m.safetensors", step=50)
    (tmp_path / "result.json").write_text('{"loss": 0.25, "bad": NaN}')
    (tmp_path / "u.bin").write_bytes(b"u")
    report = run(tmp_path, expect=expect)
    assert len(report.unmet) == 1
    assert not report.passed
    assert max(proof.level for proof in report.files) is VerificationLevel.LOADS


def test_a_table_and_an_image_load_and_a_flipped_pixel_breaks_the_image(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(6)))
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    (tmp_path / "good.png").write_bytes(image)
    (tmp_path / "bad.png").write_bytes(image[:45] + bytes([image[45] ^ 1]) + image[46:])
    crc = image.index(pixels) + len(pixels) - 1
    (tmp_path / "crc.png").write_bytes(image[:crc] + bytes([image[crc] ^ 1]) + image[crc + 1 :])
    woven = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 1)  # in passes of 2, 2, 3, 6 and 10 bytes
    pixels_woven = chunk(b"IDAT", zlib.compress(bytes(23)))
    (tmp_path / "woven.png").write_bytes(image[:8] + chunk(b"IHDR", woven) + pixels_woven + chunk(b"IEND", b""))
    (tmp_path / "m.csv").write_text("step,loss\n1,0.5\n2,nan\n")
    (tmp_path / "ragged.csv").write_text("step,loss\n1\n2,0.5,9\n3,0.5")
    found = proofs(run(tmp_path))
    assert found["good.png"].level is VerificationLevel.LOADS
    assert found["woven.png"].level is VerificationLevel.LOADS
    for name in ("bad.png", "crc.png"):
        assert (found[name].level, codes(found[name])) == (VerificationLevel.DIGEST, {"corrupt"})
    assert codes(found["ragged.csv"]) == {"ragged", "no-final-newline"}
    assert "2 of 3 rows" in str(found["ragged.csv"].findings)
    assert found["m.csv"].facts["step"] == 2
    assert codes(found["m.csv"]) == {"non-finite"}


def test_a_loader_out_of_time_or_memory_is_charged_to_its_file(tmp_path: Path) -> None:
    weights(tmp_path / "m.safetensors")
    slow = run(tmp_path, limits=VerifyLimits(seconds=0.0001)).files[0]
    tight = run(tmp_path, limits=VerifyLimits(memory_bytes=24 << 20)).files[0]
    assert (slow.level, codes(slow)) == (VerificationLevel.DIGEST, {"timeout"})
    assert tight.level is VerificationLevel.DIGEST
    assert codes(tight) <= {"memory-limit", "unreadable", "loader-died"}


def test_a_digest_just_proven_is_believed_only_while_the_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "u.bin"
    path.write_bytes(b"u")
    mark = Known(*marks(path), "a" * 64)
    assert run(tmp_path, known={"u.bin": mark}).files[0].sha256 == "a" * 64
    for other in (
        mark._replace(size=2),
        mark._replace(mtime_ns=1),
        mark._replace(ctime_ns=1),
        mark._replace(inode=1),
    ):
        assert run(tmp_path, known={"u.bin": other}).files[0].sha256 == hashlib.sha256(b"u").hexdigest()


def marks(path: Path) -> tuple[int, int, int, int]:
    seen = path.stat()
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino


def test_a_file_altered_behind_the_copy_is_hashed_anew_even_with_its_old_time(tmp_path: Path) -> None:
    for name in ("kept", "altered"):
        (tmp_path / name).write_bytes(b"right")
    fresh = FreshCopies()
    receipt = receipt_of(tmp_path, "kept", "altered", claimed="a" * 64)
    fresh.remember(receipt)
    before = (tmp_path / "altered").stat()
    (tmp_path / "altered").write_bytes(b"wrong")
    os.utime(tmp_path / "altered", ns=(before.st_atime_ns, before.st_mtime_ns))
    found = proofs(run(tmp_path, known=dict(fresh.of(receipt))))
    assert found["kept"].sha256 == "a" * 64
    assert found["altered"].sha256 == hashlib.sha256(b"wrong").hexdigest()


def test_only_plain_files_as_the_copy_left_them_are_marked_and_only_of_the_last_copies(tmp_path: Path) -> None:
    for name in ("kept", "dated", "linked"):
        (tmp_path / name).write_bytes(b"right")
    receipt = receipt_of(tmp_path, "kept", "dated", "linked")
    os.utime(tmp_path / "dated", ns=(5, 5))
    (tmp_path / "linked").rename(tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to("elsewhere")
    fresh = FreshCopies()
    fresh.remember(receipt)
    assert set(fresh.of(receipt)) == {"kept"}
    for number in range(FreshCopies.MOST):
        fresh.remember(receipt.model_copy(update={"copy_id": f"copy-later-{number}"}))
    assert fresh.of(receipt) == {}


def test_of_very_many_files_below_a_level_some_are_named_and_the_others_counted(tmp_path: Path) -> None:
    for number in range(105):
        (tmp_path / f"{number:03}.bin").write_bytes(b"")
    report = run(tmp_path, expect=Expectations(min_level=VerificationLevel.LOADS))
    assert len(report.unmet) == 101
    assert report.unmet[0] == "000.bin reached DIGEST and LOADS is expected."
    assert report.unmet[-1] == "5 more files reached less than LOADS."


def test_files_are_told_in_the_order_of_the_manifest_whichever_was_proven_first(tmp_path: Path) -> None:
    names = [f"{number:02}.json" if number % 3 else f"{number:02}.bin" for number in range(40)]
    for name in names:
        (tmp_path / name).write_text("{}" if name.endswith("json") else "")
    report = run(tmp_path)
    assert [proof.path for proof in report.files] == names
    assert VerificationReport.model_validate_json(report.model_dump_json()) == report
