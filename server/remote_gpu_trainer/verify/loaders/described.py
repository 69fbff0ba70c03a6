"""What a pickle speaks of, as plain descriptions: nothing here is the thing itself."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False, slots=True)
class Name:
    """A global that the pickle asks for."""

    text: str


@dataclass(eq=False, slots=True)
class Call:
    """A call that the pickle asks for and does not get."""

    name: str
    args: list[object]


@dataclass(eq=False, slots=True)
class Storage:
    """A persistent id."""

    kind: str
    key: str
    elements: int


@dataclass(eq=False, slots=True)
class Box:
    """A list, dict or tuple; dict entries lie as pairs in a row."""

    kind: str
    items: list[object] = field(default_factory=list[object])


@dataclass(eq=False, slots=True)
class Dtype:
    """A numpy type of numbers."""

    code: str
    """Kind and bytes, for example ``f8``."""
    big_endian: bool = False

    @property
    def kind(self) -> str | None:
        """As ``TensorScan`` names it; None where it holds no floating-point numbers."""
        return {"f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128"}.get(self.code)


@dataclass(eq=False, slots=True)
class Array:
    """A numpy array or scalar whose bytes lie in the pickle itself; ``dtype`` None until its state came."""

    dtype: Dtype | None = None
    elements: int = 0
    data: bytes = b""

    def little_endian(self) -> bytes:
        """Its bytes in the order that the rest of a checkpoint has."""
        if self.dtype is None or not self.dtype.big_endian:
            return self.data
        return np.frombuffer(self.data, f">{self.dtype.code}").astype(f"<{self.dtype.code}").tobytes()
