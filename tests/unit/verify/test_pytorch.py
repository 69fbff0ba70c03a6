import io
import pickle
import pickletools
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from remote_gpu_trainer.verify.loaders.pytorch import load
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.registry import detect
from remote_gpu_trainer.verify.source import Source

# As torch.save writes {"w": tensor of shape (2, 2), "step": 9}, protocol 2.
STATE = (
    b"\x80\x02}q\x00(X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
    b"ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x04tq\x07QK\x00K\x02K\x02\x86q\x08"
    b"K\x02K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rX\x04\x00\x00\x00stepq\x0eK\tu."
)


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the restricted reader proves by itself."""
    monkeypatch.setitem(sys.modules, "torch", None)


def read(path: Path, state: bytes, data: bytes) -> tuple[str, dict[str, object]]:
    """What is first told of a zip with this pickle and this storage."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", state)
        archive.writestr("m/data/0", data)
    return first(path, out.getvalue())


def first(path: Path, data: bytes) -> tuple[str, dict[str, object]]:
    """The code of the break, or of the first finding, and the facts."""
    path.write_bytes(data)
    with path.open("rb") as file:
        try:
            outcome = load(Source(file.fileno()))
        except BrokenArtifact as broken:
            return broken.code, {}
    return outcome.findings[0][0], dict(outcome.facts)


def test_a_plain_checkpoint_is_read_without_running_it(tmp_path: Path) -> None:
    assert list(pickletools.genops(STATE))
    code, facts = read(tmp_path / "m.pt", STATE, np.arange(4, dtype=np.float32).tobytes())
    assert code == "restricted-read"
    assert facts | {"tensors": 1, "parameters": 4, "dtypes": "F32", "step": 9} == facts


MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)


def legacy(path: Path, state: bytes, keys: list[str], *parts: bytes) -> tuple[str, dict[str, object]]:
    """As ``read``, of a file as torch wrote them before they were zips."""
    head = MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return first(path, head + state + pickle.dumps(keys, 2) + b"".join(parts))


def test_a_legacy_file_is_read_as_well_and_each_lie_about_its_storages_is_named(tmp_path: Path) -> None:
    four, numbers = (4).to_bytes(8, "little"), np.array([1, np.nan, 2, 3], np.float32).tobytes()
    code, facts = legacy(tmp_path / "m.pt", STATE, ["0"], four, numbers)
    assert code == "nan"
    assert facts | {"tensors": 1, "parameters": 4, "nan_values": 1, "step": 9, "all_zero_share": 0.0} == facts
    assert facts["non_finite_share"] == 1 / 4
    assert legacy(tmp_path / "m.pt", STATE, ["0"], four, numbers[:-1])[0] == "truncated"
    assert legacy(tmp_path / "m.pt", STATE, ["0"], (5).to_bytes(8, "little"), numbers)[0] == "lying-storage"
    assert legacy(tmp_path / "m.pt", STATE, ["1"], four, numbers)[0] == "lying-storage"
    assert legacy(tmp_path / "m.pt", STATE, [])[0] == "missing-storage"
    foreign = STATE.replace(b"torch._utils", b"mine._utils")
    assert legacy(tmp_path / "m.pt", foreign, ["0"], four, bytes([1] * 16))[0] == "foreign-classes"
    assert legacy(tmp_path / "m.pt", b"\x80\x02cposix\nsystem\n)R.", [])[0] == "unsafe-pickle"


def test_a_legacy_file_is_known_by_its_first_bytes_and_the_tar_before_it_is_no_checkpoint(tmp_path: Path) -> None:
    found = detect("pytorch_model.bin", MAGIC)
    assert found is not None and found.name == "pytorch"
    with tarfile.open(tmp_path / "m.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with (tmp_path / "m.pt").open("rb") as file, pytest.raises(BrokenArtifact) as raised:
        load(Source(file.fileno()))
    assert raised.value.code in {"malformed-pickle", "unsafe-pickle"}


def test_a_short_storage_and_a_tensor_beyond_its_storage_are_named(tmp_path: Path) -> None:
    assert read(tmp_path / "m.pt", STATE, bytes(12))[0] == "lying-storage"
    assert (
        read(tmp_path / "m.pt", STATE.replace(b"QK\x00K\x02K\x02", b"QK\x01K\x02K\x02"), bytes(16))[0] == "lying-tensor"
    )


def test_a_storage_of_a_type_that_is_not_known_is_named_as_that(tmp_path: Path) -> None:
    assert read(tmp_path / "m.pt", STATE.replace(b"FloatStorage", b"QUInt8Storage"), bytes(16))[0] == "unknown-dtype"


def test_nan_in_a_checkpoint_is_counted(tmp_path: Path) -> None:
    code, facts = read(tmp_path / "m.pt", STATE, np.array([1, np.nan, 2, 3], np.float32).tobytes())
    assert (code, facts["nan_values"]) == ("nan", 1)


def of(what: bytes) -> Outcome:
    """A checkpoint whose pickle is ``what``, with one storage of four floats."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", what)
        archive.writestr("m/data/0", np.arange(4, dtype=np.float32).tobytes())
    with tempfile.TemporaryFile() as file:
        file.write(out.getvalue())
        file.flush()
        return load(Source(file.fileno()))


TENSOR = STATE[STATE.index(b"ctorch._utils") : STATE.index(b"X\x04\x00\x00\x00stepq")]


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def test_a_training_checkpoint_names_the_models_own_tensors() -> None:
    inner = b"}(" + text("layer.w") + TENSOR + b"u"
    outcome = of(b"\x80\x02}(" + text("model") + inner + text("epoch") + b"K\x05u.")
    assert outcome.names == ["layer.w"]
    assert outcome.facts["epoch"] == 5


def test_other_nesting_is_named_by_its_way_and_a_part_that_holds_itself_ends() -> None:
    itself = b"}q\x63(" + text("self") + b"h\x63" + text("w") + TENSOR + b"u"
    outcome = of(b"\x80\x02}(" + text("ema") + itself + b"u.")
    assert outcome.names == ["ema.w"]


def test_what_optimizers_and_schedulers_hold_beside_tensors_is_let_through() -> None:
    beside = (
        text("dtype") + b"ctorch\nbfloat16\n" + text("device") + b"ctorch\ndevice\n" + text("cpu") + b"\x85R"
        + text("milestones") + b"ccollections\nCounter\n}K\x03K\x01s\x85R"
    )  # fmt: skip
    outcome = of(b"\x80\x02}(" + text("w") + TENSOR + beside + b"u.")
    assert [code for code, _, _ in outcome.findings] == ["restricted-read"]


def test_a_dtype_is_never_something_to_call() -> None:
    with pytest.raises(BrokenArtifact, match="calls something other"):
        of(b"\x80\x02ctorch\nbfloat16\n)R.")


def test_a_pickle_that_doubles_itself_is_described_without_being_unfolded() -> None:
    doubled = b"".join(
        b"}(" + text("a") + b"h%c" % n + text("b") + b"h%c" % n + b"uq%c" % (n + 1) + b"0" for n in range(40)
    )
    with pytest.raises(BrokenArtifact, match="opcode POP"):
        of(b"\x80\x02}q\x00" + doubled + TENSOR + b".")
    kept = b"".join(b"}(" + text("a") + b"h%c" % n + text("b") + b"h%c" % n + b"uq%c" % (n + 1) for n in range(40))
    outcome = of(b"\x80\x02(}q\x00" + kept + TENSOR + b"t.")
    assert outcome.facts["tensors"] == 1
