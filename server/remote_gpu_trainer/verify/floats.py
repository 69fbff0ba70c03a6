"""NaN, infinity and zero in raw tensor bytes, by bit patterns, so that bf16 and fp8 need no library."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remote_gpu_trainer.verify.outcome import Outcome


@dataclass(frozen=True)
class FloatKind:
    """Where a float format keeps its exponent. ``infinity`` is None where the format has none."""

    word: str
    sign_off: int
    exponent: int
    infinity: int | None


FLOATS: dict[str, FloatKind] = {
    "F64": FloatKind("<u8", 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0000),
    "F32": FloatKind("<u4", 0x7FFF_FFFF, 0x7F80_0000, 0x7F80_0000),
    "F16": FloatKind("<u2", 0x7FFF, 0x7C00, 0x7C00),
    "BF16": FloatKind("<u2", 0x7FFF, 0x7F80, 0x7F80),
    "F8_E5M2": FloatKind("u1", 0x7F, 0x7C, 0x7C),
    "F8_E4M3": FloatKind("u1", 0x7F, 0x7F, None),
    "F8_E8M0": FloatKind("u1", 0xFF, 0xFF, None),
}
AT_ONCE = 1 << 16
"""Numbers that are judged together: few enough for the cache."""
COMPLEX = {"C64": "F32", "C128": "F64"}


class TensorScan:
    """Fed with a tensor's bytes in order; counts what is not finite and notices a tensor without any bit set."""

    def __init__(self, dtype: str) -> None:
        self.kind = FLOATS.get(COMPLEX.get(dtype, dtype))
        self.nan = 0
        self.inf = 0
        self.zero = True
        self.bytes = 0
        self.values = 0
        """Floating-point numbers that were looked at."""
        self._rest = b""
        self._masked: NDArray[Any] = np.empty(AT_ONCE if self.kind else 0, self.kind.word if self.kind else "u1")

    def feed(self, data: bytes) -> None:
        """Take the next bytes; pieces may cut an element."""
        self.bytes += len(data)
        if self.zero:
            self.zero = not np.frombuffer(data, np.uint8).any()
        kind = self.kind
        if kind is None:
            return
        if self._rest:
            data = self._rest + data
        width = np.dtype(kind.word).itemsize
        whole = len(data) - len(data) % width
        self._rest = data[whole:]
        self.values += whole // width
        words = np.frombuffer(data, kind.word, whole // width)
        for start in range(0, len(words), AT_ONCE):
            self._count(kind, words[start : start + AT_ONCE])

    def _count(self, kind: FloatKind, words: NDArray[Any]) -> None:
        exponent = words.dtype.type(kind.exponent)
        masked = np.bitwise_and(words, exponent, out=self._masked[: len(words)])
        if masked.max() != exponent:  # cheaper than a comparison of each: what was masked is never more
            return
        bits = words[masked == exponent] & words.dtype.type(kind.sign_off)
        infinite = 0 if kind.infinity is None else int(np.count_nonzero(bits == words.dtype.type(kind.infinity)))
        self.inf += infinite
        self.nan += len(bits) - infinite


class ScanTotals:
    """The scans of one file, told as findings and facts."""

    def __init__(self) -> None:
        self.tensors = 0
        self.nan: list[str] = []
        self.zero: list[str] = []
        self.values = 0
        self.nan_values = 0
        self.inf_values = 0

    def add(self, name: str, scan: TensorScan) -> None:
        """Take one finished tensor."""
        self.tensors += 1
        self.values += scan.values
        if scan.nan or scan.inf:
            self.nan.append(name)
            self.nan_values += scan.nan
            self.inf_values += scan.inf
        if scan.zero and scan.bytes:
            self.zero.append(name)

    def tell(self, outcome: Outcome) -> None:
        """Add what was found. It loads all the same: judging the values is the reader's affair."""
        outcome.facts["nan_values"] = self.nan_values
        outcome.facts["inf_values"] = self.inf_values
        outcome.facts["all_zero_tensors"] = len(self.zero)
        if self.values:
            outcome.facts["non_finite_share"] = (self.nan_values + self.inf_values) / self.values
        if self.tensors:
            outcome.facts["all_zero_share"] = len(self.zero) / self.tensors
        if self.nan:
            outcome.warn(
                "nan",
                f"{len(self.nan)} of {self.tensors} tensors hold {self.nan_values} NaN and {self.inf_values} "
                f"infinite values, first in {self.nan[0][:80]!r}",
            )
        if self.zero and len(self.zero) == self.tensors:
            outcome.warn("all-zero", f"all {self.tensors} tensors hold nothing but zeros")
        elif self.zero:
            outcome.note(
                "all-zero-tensor",
                f"{len(self.zero)} of {self.tensors} tensors hold nothing but zeros, first {self.zero[0][:80]!r}",
            )
