"""numpy's arrays, an argparse namespace and paths inside a checkpoint: let through as their libraries write them."""

import argparse
import io
import pickle
import random
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from remote_gpu_trainer.verify.loaders.pickles import Reader
from remote_gpu_trainer.verify.outcome import BrokenArtifact
from tests.unit.verify.pickled import whole
from tests.unit.verify.test_run import codes, proofs, run

KINDS = ["?", "i1", "u2", "<i4", ">i8", "u8", "f2", ">f4", "f8", "c8", "c16"]


def read(data: bytes) -> Reader:
    reader = Reader()
    reader.read(io.BytesIO(data))
    return reader


def refusal(data: bytes) -> str:
    with pytest.raises(BrokenArtifact) as raised:
        read(data)
    assert raised.value.code == "unsafe-pickle"
    return str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_and_a_scalar_of_each_type_of_numbers_are_described_to_the_byte(kind: str) -> None:
    array = np.arange(6).astype(kind).reshape(2, 3)
    assert [one.data for one in read(pickle.dumps(array, 2)).arrays] == [array.tobytes()]
    assert (
        read(pickle.dumps(array, 2)).arrays[0].little_endian() == array.astype(array.dtype.newbyteorder("<")).tobytes()
    )
    assert [one.data for one in read(pickle.dumps(array[1, 2], 2)).arrays] == [array[1, 2].tobytes()]
    assert read(pickle.dumps(np.asfortranarray(array), 2)).arrays[0].elements == 6


def test_the_state_of_the_random_generators_is_read_and_a_number_that_is_none_is_counted(tmp_path: Path) -> None:
    state = {"python": random.getstate(), "numpy": np.random.RandomState(7).get_state(), "loss": np.float64("nan")}
    (tmp_path / "rng_state.pth").write_bytes(whole(state))
    proof = proofs(run(tmp_path))["rng_state.pth"]
    assert {"nan"} <= codes(proof) <= {"nan", "restricted-read"}
    assert proof.facts["nan_values"] == 1


ARRAY = pickle.dumps(np.arange(6, dtype="<f8"), 2)
OBJECTS: list[Any] = [
    np.array([{"a": 1}], object),
    np.array(["text"]),
    np.array([b"bytes"]),
    np.zeros(2, [("a", "f8")]),
    np.array(["2026-08-01"], "datetime64[D]"),
    np.zeros(2, "V8"),
    np.zeros(2, np.longdouble),
]


@pytest.mark.parametrize("what", OBJECTS, ids=lambda what: str(what.dtype))
def test_objects_texts_records_and_dates_are_refused(what: Any) -> None:
    assert "as numpy does not" in refusal(pickle.dumps(what, 2))


@pytest.mark.parametrize(
    ("instead_of", "stands"),
    [
        (b"K\x06\x85", b"K\x07\x85"),
        (b"K\x06\x85", b"J\xff\xff\xff\xff\x85"),
        (b"K\x06\x85", b"\x88\x85"),
        (b"K\x06\x85", b"]"),
        (b"(K\x01", b"(K\x02"),
        (b"(K\x03", b"(K\x04"),
        (b"NNN", b"NN]"),
        (b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
        (b"K\x00\x85", b"K\x01\x85"),
        (b"X\x02\x00\x00\x00f8", b"X\x02\x00\x00\x00O8"),
        (b"X\x02\x00\x00\x00f8", b"X\x02\x00\x00\x00i8"),
        (b"X\x06\x00\x00\x00latin1", b"X\x05\x00\x00\x00utf-8"),
        (b"\x89\x88\x87", b"\x88\x88\x87"),
    ],
)
def test_an_array_described_otherwise_than_numpy_does_is_refused(instead_of: bytes, stands: bytes) -> None:
    assert instead_of in ARRAY
    bent = ARRAY.replace(instead_of, stands, 1)
    if stands.endswith(b"i8"):
        read(bent)  # still numbers of that width
    else:
        refusal(bent)


def test_a_type_and_its_class_are_not_called_by_themselves_and_a_state_is_set_once() -> None:
    assert "calls something other" in refusal(b"\x80\x02cnumpy\nndarray\n)R.")
    assert "NEWOBJ" in refusal(b"\x80\x02cnumpy\ndtype\n)\x81.")
    state = ARRAY[ARRAY.index(b"(K\x01") : ARRAY.rindex(b".")]
    assert "does not write" in refusal(ARRAY[:-1] + state + b".")


def test_a_namespace_and_paths_are_let_through_only_with_plain_content() -> None:
    settings = argparse.Namespace(lr=0.1, out=PurePosixPath("a/b"), deep=argparse.Namespace(n=1))
    written = pickle.dumps(settings, 2)
    assert read(written).settings
    assert read(written.replace(b"pathlib\n", b"pathlib._local\n")).settings, "as Python 3.13 writes it"
    for bad in (
        b"\x80\x02cargparse\nNamespace\n)R.",
        b"\x80\x02cargparse\nNamespace\nK\x01\x85\x81.",
        b"\x80\x02cargparse\nNamespace\n)\x81]b.",
        b"\x80\x02cargparse\nNamespace\n)\x81}K\x01K\x02sb.",
        b"\x80\x02cpathlib\nPosixPath\n)\x81.",
        b"\x80\x02cpathlib\nPosixPath\nK\x01\x85R.",
        b"\x80\x02cpathlib\nPosixPath\n)R}b.",
        b"\x80\x02cargparse\nArgumentParser\n)R.",
    ):
        refusal(bad)


def test_a_walk_to_the_end_keeps_every_foreign_name_and_stops_at_what_only_an_attack_needs() -> None:
    reader = Reader(whole=True)
    reader.read(io.BytesIO(b"\x80\x02cmine\nArgs\n)\x81}X\x01\x00\x00\x00acyours\nKind\nX\x01\x00\x00\x00x\x85Rsb."))
    assert reader.wanted == ["mine.Args", "yours.Kind"]
    for name in (b"torch.hubs\nload", b"torch.optim.adam\nAdam", b"pandas\nTimestamp"):
        Reader(whole=True).read(io.BytesIO(b"\x80\x02c" + name + b"\n)R."))
    for name in (
        b"os\nsystem",
        b"mine\nos",
        b"builtins\ngetattr",
        b"os.path\njoin",
        b"operator\nattrgetter",
        b"torch.hub\nload",
    ):
        with pytest.raises(BrokenArtifact, match="not allowed"):
            Reader(whole=True).read(io.BytesIO(b"\x80\x02c" + name + b"\n)R."))
    with pytest.raises(BrokenArtifact, match="not allowed"):
        Reader(whole=True).read(io.BytesIO(b"\x80\x04\x8c\x04mine\x8c\x09os.system\x93."))
