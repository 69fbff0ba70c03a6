"""A model in parts is whole only when each part that its index names is there and holds what it promises."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]  # its PathLike has no parameter

from remote_gpu_trainer.domain.artifacts import Expectations, VerificationLevel
from tests.unit.verify.test_run import codes, proofs, run
from tests.unit.verify.written import external

INDEX = "m/model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model of three tensors in two parts."""
    (tmp_path / "m").mkdir()
    save_file({"a": np.ones(3), "b": np.ones(2)}, tmp_path / "m" / ONE)
    save_file({"c": np.ones(1)}, tmp_path / "m" / TWO)
    promise(tmp_path, {"a": ONE, "b": ONE, "c": TWO})
    return tmp_path


def promise(home: Path, weight_map: object) -> None:
    (home / INDEX).write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": weight_map}))


def test_a_model_in_parts_loads_and_its_index_knows_every_tensor(home: Path) -> None:
    save_file({name: np.ones(1) for name in "abc"}, home / "whole.safetensors")
    report = run(home, expect=Expectations(keys=("a", "c"), same_names_as="whole.safetensors"))
    assert report.passed, report.unmet
    assert proofs(report)[INDEX].level is VerificationLevel.MEETS_EXPECTATIONS
    assert proofs(report)[INDEX].facts["parts"] == 2
    save_file({name: np.ones(1) for name in "abd"}, home / "whole.safetensors")
    other = run(home, expect=Expectations(same_names_as="whole.safetensors"))
    assert other.unmet == (f"{INDEX} differs from whole.safetensors in 2 tensor names, first 'c'.",)


def test_a_part_that_is_not_there_is_an_error_of_the_index(home: Path) -> None:
    (home / "m" / TWO).unlink()
    report = run(home)
    proof = proofs(report)[INDEX]
    assert (proof.level, codes(proof)) == (VerificationLevel.DIGEST, {"missing-shard"})
    assert TWO in proof.findings[0].message
    assert not report.passed


def test_a_part_of_another_save_is_an_error_of_the_index(home: Path) -> None:
    save_file({"x": np.ones(1)}, home / "m" / TWO)
    proof = proofs(run(home))[INDEX]
    assert codes(proof) == {"short-shard"}
    assert "lacks 1 tensors that it promises, first 'c'" in proof.findings[0].message


def test_an_index_that_names_a_file_elsewhere_is_refused_and_other_maps_are_none(home: Path) -> None:
    promise(home, {"a": "../one.safetensors"})
    assert codes(proofs(run(home))[INDEX]) == {"unsafe-name"}
    others: list[object] = [[], {}, {"a": 1}, {"a": ONE, "b": None}, {"a" * 501: ONE}, "x", None]
    for other in others:
        promise(home, other)
        assert codes(proofs(run(home))[INDEX]) == {"odd-index"}, other
    for name in ("..", "a\0", "a\u202eb", "a\\b", ""):
        promise(home, {"a": name})
        assert codes(proofs(run(home))[INDEX]) == {"unsafe-name"}, name


def test_a_part_that_does_not_load_breaks_its_index_as_well(home: Path) -> None:
    (home / "m" / TWO).write_bytes((home / "m" / TWO).read_bytes()[:-1])
    found = proofs(run(home))
    assert codes(found[f"m/{TWO}"]) == {"truncated"}
    assert (found[INDEX].level, codes(found[INDEX])) == (VerificationLevel.DIGEST, {"broken-shard"})


def test_tensors_that_the_index_does_not_name_and_another_size_than_it_says_are_warnings(home: Path) -> None:
    save_file({"c": np.ones(1), "d": np.ones(1)}, home / "m" / TWO)
    report = run(home)
    proof = proofs(report)[INDEX]
    assert (proof.level, codes(proof)) == (VerificationLevel.LOADS, {"stray-tensor", "total-size"})
    assert "hold 1 tensors that it does not name there, first 'd'" in proof.findings[0].message
    assert "take 56 bytes, and it promises 48" in proof.findings[1].message
    assert report.passed
    save_file({"c": np.ones(1), "a": np.ones(3)}, home / "m" / TWO)
    assert "first 'a'" in proofs(run(home))[INDEX].findings[0].message, "in two parts"


@pytest.mark.parametrize("total", [None, "48", 48.0, -1, True])
def test_a_total_size_that_is_no_number_or_the_same_one_is_no_warning(home: Path, total: object) -> None:
    weight_map = {"a": ONE, "b": ONE, "c": TWO}
    (home / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    assert codes(proofs(run(home))[INDEX]) == set()


def test_a_numbered_part_without_its_others_is_an_error_even_where_no_index_came(home: Path) -> None:
    (home / INDEX).unlink()
    assert run(home).passed
    (home / "m" / TWO).unlink()
    report = run(home)
    proof = proofs(report)[f"m/{ONE}"]
    assert (proof.level, codes(proof)) == (VerificationLevel.DIGEST, {"missing-shard"})
    assert "one of 2, and 1 are here" in proof.findings[0].message
    (home / "m" / ONE).unlink()
    (home / "m" / "train-00003-of-00010.jsonl").write_text("{}\n")
    assert run(home).passed, "not every numbered file is a part of a model"


def test_an_onnx_model_needs_the_file_that_its_weights_lie_in(home: Path) -> None:
    (home / "m" / "model.onnx").write_bytes(external())
    model = proofs(run(home))["m/model.onnx"]
    assert codes(model) == {"external-data", "missing-shard"}
    (home / "outside").write_bytes(bytes(32))
    (home / "m" / "weights.data").symlink_to("../outside")
    assert codes(proofs(run(home))["m/model.onnx"]) == {"external-data", "missing-shard"}
    (home / "m" / "weights.data").unlink()
    os.mkfifo(home / "m" / "weights.data")
    assert codes(proofs(run(home))["m/model.onnx"]) == {"external-data", "missing-shard"}
    (home / "m" / "weights.data").unlink()
    (home / "m" / "weights.data").write_bytes(bytes(32))
    model = proofs(run(home))["m/model.onnx"]
    assert (model.level, codes(model)) == (VerificationLevel.DIGEST, {"external-data"})


def test_an_index_that_is_looked_at_alone_says_nothing_of_its_parts(home: Path) -> None:
    (home / "m" / TWO).unlink()
    assert run(home / INDEX).passed
