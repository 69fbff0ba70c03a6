"""GGUF and ONNX: walked within bounds, each tensor's extent held against the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from remote_gpu_trainer.verify.loaders import gguf as gguf_loader
from remote_gpu_trainer.verify.loaders import onnx as onnx_loader
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source
from tests.unit.verify.written import constant, external, gguf, info, number, onnx, weight

ONES = np.ones(8, np.float32).tobytes()


def load(path: Path, data: bytes, loader: Callable[[Source], Outcome]) -> Outcome:
    path.write_bytes(data)
    with path.open("rb") as file:
        return loader(Source(file.fileno()))


def broken(path: Path, data: bytes, loader: Callable[[Source], Outcome]) -> str:
    with pytest.raises(BrokenArtifact) as raised:
        load(path, data, loader)
    return raised.value.code


def test_a_gguf_tells_its_tensors_types_and_what_is_not_finite(tmp_path: Path) -> None:
    halves = np.array([1, np.nan, np.inf, 0], np.float16).tobytes()
    data = ONES + halves.ljust(32, b"\0") + bytes([1] * 34)
    infos = [info("a", [4, 2], 0, 0), info("b", [4], 1, 32), info("c", [32], 8, 64)]
    outcome = load(tmp_path / "m", gguf(infos, data), gguf_loader.load)
    assert outcome.loaded
    assert outcome.names == ["a", "b", "c"]
    wanted = {"tensors": 3, "parameters": 44, "dtypes": "F16, F32, Q8_0", "architecture": "llama"}
    assert outcome.facts | wanted == outcome.facts
    assert (outcome.facts["nan_values"], outcome.facts["inf_values"]) == (1, 1)
    assert outcome.facts["non_finite_share"] == 2 / 12


def test_a_gguf_with_a_type_that_is_not_known_is_not_called_loaded(tmp_path: Path) -> None:
    outcome = load(tmp_path / "m", gguf([info("a", [8], 99, 0)], ONES), gguf_loader.load)
    assert not outcome.loaded
    assert [code for code, _, _ in outcome.findings] == ["unknown-dtype"]


def test_a_gguf_cut_at_any_byte_does_not_load(tmp_path: Path) -> None:
    whole = gguf([info("a", [8], 0, 0)], ONES)
    assert load(tmp_path / "m", whole, gguf_loader.load).loaded
    codes = {broken(tmp_path / "m", whole[:end], gguf_loader.load) for end in range(len(whole))}
    assert codes <= {"truncated", "not-gguf", "unknown-version"}


def test_an_onnx_model_tells_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    inner = onnx(weight("deep", [2], raw=ONES[:8]))
    graph = inner[inner.index(b"\x12\x05graph") :]
    typed = weight("typed", [2], 7, typed=number(7, 5) + number(7, 2**64 - 1))
    nodes = [constant(weight("constant", [1], raw=ONES[:4])), constant(graph, 6)]
    outcome = load(tmp_path / "m", onnx(weight("raw", [4, 2], raw=ONES), typed, nodes=nodes), onnx_loader.load)
    assert outcome.loaded
    assert sorted(outcome.names) == ["constant", "deep", "raw", "typed"]
    assert outcome.facts | {"tensors": 4, "parameters": 13, "nodes": 2, "ir_version": 9} == outcome.facts


def test_an_onnx_model_whose_weights_lie_in_another_file_is_not_called_loaded(tmp_path: Path) -> None:
    outcome = load(tmp_path / "m", external(), onnx_loader.load)
    assert not outcome.loaded
    assert [code for code, _, _ in outcome.findings] == ["external-data"]


def test_an_onnx_model_cut_at_any_byte_does_not_load(tmp_path: Path) -> None:
    whole = onnx(weight("a", [8], raw=ONES), weight("b", [8], raw=ONES))
    assert load(tmp_path / "m", whole, onnx_loader.load).loaded
    codes = {broken(tmp_path / "m", whole[:end], onnx_loader.load) for end in range(len(whole))}
    assert codes <= {"truncated", "not-onnx"}
