"""numpy's own way to pickle numbers, held to exactly what numpy writes. Objects, records and texts are refused.

Source: ``numpy/_core/src/multiarray/methods.c`` and ``descriptor.c`` (``__reduce__``), versions 1.13 to 2.4.
"""

import math
import re
from typing import Any, cast

import numpy as np

from remote_gpu_trainer.verify.loaders.containers import ENCODE
from remote_gpu_trainer.verify.loaders.described import Array, Box, Call, Dtype, Name
from remote_gpu_trainer.verify.outcome import BrokenArtifact

ARRAY_TYPE, DTYPE = "numpy ndarray", "numpy dtype"
RECONSTRUCT = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
SCALAR = {f"numpy.{core}.multiarray scalar" for core in ("core", "_core")}
NUMPY = {ARRAY_TYPE, DTYPE, *RECONSTRUCT, *SCALAR}
_CODE = re.compile(r"b1|[iu][1248]|f[248]|c(8|16)")
_PLAIN_STATE = [None, None, None, -1, -1, 0]
"""Of a type of numbers: no subarray, no names, no fields, no size or alignment of its own, no flags."""


def called(name: str, args: list[object]) -> Array | Dtype:
    """What a call of one of numpy's names describes.

    Raises:
        BrokenArtifact: ``unsafe-pickle``, it is not what numpy writes.
    """
    match args:
        case [Name(text=text), Box(kind="EMPTY_TUPLE", items=[0]), mark] if (
            name in RECONSTRUCT and text == ARRAY_TYPE and _bytes(mark) == b"b"
        ):
            return Array()
        case [str() as code, align, copy] if name == DTYPE and _CODE.fullmatch(code) and (align, copy) == (False, True):
            return Dtype(code)
        case [Dtype() as dtype, data] if name in SCALAR:
            return _filled(Array(), dtype, 1, _bytes(data))
        case _:
            raise _strange(f"it calls {name.replace(' ', '.')} as numpy does not")


def built(target: Array | Dtype, state: object) -> None:
    """Take the state that follows a call.

    Raises:
        BrokenArtifact: ``unsafe-pickle``, it is not what numpy writes.
    """
    items = state.items if isinstance(state, Box) and state.kind == "EMPTY_TUPLE" else []
    match items:
        case [3, "<" | ">" | "|" as order, *rest] if isinstance(target, Dtype) and rest == _PLAIN_STATE:
            target.big_endian = order == ">"
        case [1, Box(kind="EMPTY_TUPLE", items=sides), Dtype() as dtype, bool(), data] if (
            isinstance(target, Array)
            and target.dtype is None
            and len(sides) <= 64
            and all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 2**48 for side in sides)
        ):
            _filled(target, dtype, math.prod(cast(list[int], sides)), _bytes(data))
        case _:
            raise _strange("it sets a state that numpy does not write")


def torch_globals() -> list[Any]:
    """What ``weights_only`` has to be allowed for such arrays, under numpy's names of both generations.

    Only for a pickle whose every use of them ``called`` and ``built`` have seen and found to be numpy's own.
    """
    reconstruct: Any = np.array(0).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    names = [(reconstruct, name) for name in RECONSTRUCT] + [(scalar, name) for name in SCALAR]
    kinds = {type(np.dtype(code)) for code in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")}
    return [
        *((function, name.replace(" ", ".")) for function, name in names),
        np.ndarray, np.dtype, *kinds, type(np.dtype("c8")), type(np.dtype("c16")),
    ]  # fmt: skip


def _filled(array: Array, dtype: Dtype, elements: int, data: bytes) -> Array:
    if len(data) != elements * int(dtype.code[1:]):
        raise _strange(f"{elements} x {dtype.code} are described by {len(data)} bytes")
    array.dtype, array.elements, array.data = dtype, elements, data
    return array


def _bytes(what: object) -> bytes:
    """Bytes as protocol 3 holds them, or as protocol 2 does: a text that is encoded as latin-1."""
    match what:
        case bytes():
            return what
        case Call(name=name, args=[str() as text, "latin1"]) if name == ENCODE:
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                raise _strange("its bytes are no bytes") from None
        case _:
            raise _strange("numpy's bytes are described in another way than numpy does")


def _strange(message: str) -> BrokenArtifact:
    return BrokenArtifact("unsafe-pickle", message)
