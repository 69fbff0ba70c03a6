"""Formats that a library reads where it is installed, and that stay at DIGEST, with the reason, where it is not."""

import bz2
import gzip
import importlib.util
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import FileProof, VerificationLevel
from remote_gpu_trainer.verify.loaders import archives, images, parquet, pytorch
from remote_gpu_trainer.verify.outcome import Outcome
from remote_gpu_trainer.verify.run import verify
from remote_gpu_trainer.verify.source import Source
from tests.unit.verify.test_pytorch import STATE
from tests.unit.verify.test_run import codes, proofs


def prove(folder: Path) -> dict[str, FileProof]:
    async def go() -> Any:
        with anyio.fail_after(50):
            return await verify(folder, manifest=None, expect=None, copy_id=None, clock=SystemClock())

    return proofs(anyio.run(go))


def test_every_row_of_a_parquet_file_is_read_and_a_flipped_page_is_found(tmp_path: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    writer: Any = pytest.importorskip("pyarrow.parquet", reason="pyarrow was built without parquet")
    table = arrow.table({"step": list(range(9000)), "loss": [0.5] * 8999 + [float("nan")], "text": ["x"] * 9000})
    writer.write_table(table, tmp_path / "good.parquet", write_page_checksum=True)
    whole = (tmp_path / "good.parquet").read_bytes()
    at = len(whole) // 3
    (tmp_path / "flipped.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    (tmp_path / "footer.parquet").write_bytes(whole[:-8] + b"\xff\xff\xff\x7fPAR1")
    found = prove(tmp_path)
    assert found["good.parquet"].level is VerificationLevel.LOADS
    assert found["good.parquet"].facts | {"rows": 9000, "columns": 3, "non_finite_values": 1, "step": 8999} == (
        found["good.parquet"].facts
    )
    assert codes(found["good.parquet"]) == {"non-finite"}
    assert codes(found["flipped.parquet"]) == {"corrupt"}
    assert codes(found["cut.parquet"]) == {"truncated"}
    assert codes(found["footer.parquet"]) == {"lying-header"}


def test_every_frame_of_an_image_is_decoded_and_a_cut_one_is_found(tmp_path: Path) -> None:
    pillow: Any = pytest.importorskip("PIL.Image", reason="the extra 'images' is not installed")
    noise: Any = pillow.effect_noise((64, 48), 60)
    for suffix in ("jpg", "gif", "webp", "bmp", "tiff"):
        noise.save(tmp_path / f"good.{suffix}")
        whole = (tmp_path / f"good.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    noise.save(tmp_path / "film.gif", save_all=True, append_images=[noise.rotate(90), noise.rotate(45)])
    found = prove(tmp_path)
    assert found.pop("film.gif").facts["frames"] == 3
    for name, proof in found.items():
        good = name.startswith("good")
        assert (proof.level is VerificationLevel.LOADS) is good, name
        assert codes(proof) == (set() if good else {"corrupt"}), name
    assert found["good.jpg"].facts == {"width": 64, "height": 48, "frames": 1}


def packed(pack: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """A packed text, and a packed tar with one member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a")
        member.size = 5000
        archive.addfile(member, io.BytesIO(b"x" * 5000))
    return pack(b"abc" * 1000), pack(out.getvalue())


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def test_packed_streams_and_tars_are_read_to_their_end_and_a_cut_one_is_found(tmp_path: Path) -> None:
    packings = dict(PACKINGS)
    if importlib.util.find_spec("zstandard") is not None:
        import zstandard

        packings["zst"] = zstandard.compress
    for suffix, pack in packings.items():
        text, tar = packed(pack)
        (tmp_path / f"text.{suffix}").write_bytes(text + (text if suffix == "zst" else b""))
        (tmp_path / f"all.tar.{suffix}").write_bytes(tar)
        (tmp_path / f"cut.{suffix}").write_bytes(text[:-3])
        (tmp_path / f"cut.tar.{suffix}").write_bytes(tar[: len(tar) // 2])
    found = prove(tmp_path)
    for suffix in packings:
        assert found[f"text.{suffix}"].facts == {"unpacked_bytes": 6000 if suffix == "zst" else 3000}
        assert found[f"all.tar.{suffix}"].facts == {"members": 1, "unpacked_bytes": 5000}
        assert {"cut", "corrupt", "truncated"} >= codes(found[f"cut.{suffix}"]) != set()
        assert {"cut", "corrupt", "truncated"} >= codes(found[f"cut.tar.{suffix}"]) != set()


def test_a_tar_with_links_to_its_own_members_loads_and_says_so(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, target in (("run/step-500", ""), ("run/latest", "step-500")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            archive.addfile(member, io.BytesIO())
    proof = prove(tmp_path)["a.tar"]
    assert (proof.level, codes(proof)) == (VerificationLevel.LOADS, {"links"})


def loaded(path: Path, data: bytes, loader: Callable[[Source], Outcome]) -> Outcome:
    path.write_bytes(data)
    with path.open("rb") as file:
        return loader(Source(file.fileno()))


@pytest.mark.parametrize(
    ("modules", "data", "loader", "extra"),
    [
        (["pyarrow"], b"PAR1" + bytes(4) + b"PAR1", parquet.load, "parquet"),
        (["PIL"], b"\xff\xd8\xff\xe0", images.load_jpeg, "images"),
        (["zstandard", "compression.zstd"], b"\x28\xb5\x2f\xfd", archives.load_zstd, "zstd"),
    ],
    ids=["parquet", "images", "zstd"],
)
def test_without_its_library_a_format_says_what_to_install_and_is_not_called_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modules: list[str],
    data: bytes,
    loader: Callable[[Source], Outcome],
    extra: str,
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    outcome = loaded(tmp_path / "f", data, loader)
    assert not outcome.loaded
    assert [(code, weight) for code, weight, _ in outcome.findings] == [("no-loader", "note")]
    assert f"'{extra}'" in outcome.findings[0][2]


def test_a_torch_with_known_holes_is_never_asked_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> object:
        raise AssertionError("an old torch was asked to load")

    old = ModuleType("torch")
    old.__spec__ = importlib.util.spec_from_loader("torch", None)
    vars(old).update(__version__="2.9.1+cpu", load=load)
    monkeypatch.setitem(sys.modules, "torch", old)
    outcome = loaded(tmp_path / "m.pt", zipped_checkpoint(), pytorch.load)
    assert not outcome.loaded
    assert outcome.findings[0][0] == "restricted-read"
    assert "older than 2.10" in outcome.findings[0][2]


def zipped_checkpoint() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", STATE)
        archive.writestr("m/data/0", b"\1" * 16)
    return out.getvalue()
