"""All files of a verification, packed: what a report says of each, and what only the expectations look at."""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from remote_gpu_trainer.domain.artifacts import FileProof
from remote_gpu_trainer.domain.entries import Entries
from remote_gpu_trainer.domain.proofs import Proofs, Texts


@dataclass(frozen=True)
class Seen:
    """One proven file, with what does not fit into a report."""

    proof: FileProof
    names: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    kind: str | None = None
    """Name of the format whose loader was asked, whatever it answered."""
    shards: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Of the index of a model in parts: files beside it, with the tensors that it promises in each."""
    part: bool = False
    """It is one of the parts, and its index speaks for its tensors' names."""


class Roll:
    """Files in the order in which they were named, whichever was finished first. Those that are not here are none.

    Args:
        count: How many were named.
        promised: They, with what was promised of each, where something was.
    """

    def __init__(self, count: int, promised: Entries | None = None) -> None:
        self._promised = promised is not None
        self._added = Proofs(promised)
        self._rows = array("I", bytes(0 if self._promised else 4 * count))
        """By a file's number: its place among the finished ones, from 1 on. Promised ones are in their places."""
        self._extras = array("I", bytes(4 * count))
        """By place: number of the text that holds what only expectations look at, from 1 on; 0 where no loader was
        asked."""
        self._texts = Texts()
        self._count, self._come = count, 0
        self._order: array[int] | None = None
        self.proofs = self._added

    def put(self, number: int, seen: Seen) -> None:
        """Take in one that was finished."""
        if self._promised:
            self._added.put(number, seen.proof)
            self._extras[number] = self._packed(seen)
            return
        self._added.append(seen.proof)
        self._extras[self._come] = self._packed(seen)
        self._come += 1
        self._rows[number] = self._come

    def arrange(self) -> list[int]:
        """Put all that were taken in into their order; the numbers of those that are not here."""
        if self._promised:
            missing = [number for number in range(self._count) if not self._added.was_put(number)]
            if missing:
                self._order = array("I", filter(self._added.was_put, range(self._count)))
        else:
            missing = [number for number, row in enumerate(self._rows) if not row]
            self._order = array("I", (row - 1 for row in self._rows if row))
        if self._order is not None:
            self.proofs = self._added.in_order(self._order)
        return missing

    def __len__(self) -> int:
        return len(self.proofs)

    def __getitem__(self, at: int) -> Seen:
        number = self._extras[self._row(at)]
        if not number:
            return Seen(self.proofs[at])
        kind, names, numbers, shards, part = cast(list[Any], json.loads(self._texts.get(number - 1)))
        return Seen(self.proofs[at], tuple(names), numbers, kind, shards, part)

    def path(self, at: int) -> str:
        """The path of one."""
        return self.proofs.path(at)

    def asked(self) -> Iterator[tuple[int, Seen]]:
        """Places and files of which a loader was asked; of the others nothing but the bytes is known."""
        return ((at, self[at]) for at in range(len(self)) if self._extras[self._row(at)])

    def replace(self, at: int, seen: Seen) -> None:
        """Say something else of one."""
        self.proofs.replace(at, seen.proof)
        self._extras[self._row(at)] = self._packed(seen)

    def _row(self, at: int) -> int:
        return at if self._order is None else self._order[at]

    def _packed(self, seen: Seen) -> int:
        if seen.kind is None:
            return 0
        more = [seen.kind, seen.names, dict(seen.numbers), dict(seen.shards), seen.part]
        return self._texts.add(json.dumps(more).encode("ascii")) + 1
