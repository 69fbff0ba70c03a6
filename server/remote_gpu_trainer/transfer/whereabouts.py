"""Numbers that are found again by a text, for millions of them."""

from array import array
from collections.abc import Iterator

NUMBER_BITS = 30
_NUMBER = (1 << NUMBER_BITS) - 1
_HASH = (1 << 64 - NUMBER_BITS) - 1


class Whereabouts:
    """Each text that was added takes 12 to 24 bytes here, its own not included: it is not kept.

    What is found must be looked at, since another text may have the same 34 bits of hash. The hash is Python's own,
    whose secret is another in every process, so that no stranger can choose names that have it in common.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 << 10))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str, number: int) -> None:
        """Let a number be found by this text.

        Raises:
            OverflowError: it is not below 2^30 - 1.
        """
        if not 0 <= number < _NUMBER:
            raise OverflowError(f"{number} is not below 2^{NUMBER_BITS} - 1")
        if 3 * self._count >= 2 * len(self._slots):
            self._grow()
        self._put((hash(text) & _HASH) << NUMBER_BITS | number + 1)
        self._count += 1

    def find(self, text: str) -> Iterator[int]:
        """Numbers that were added with this text, and perhaps others, in no certain order."""
        slots, wanted = self._slots, hash(text) & _HASH
        mask = len(slots) - 1
        at = wanted & mask
        while slot := slots[at]:
            if slot >> NUMBER_BITS == wanted:
                yield (slot & _NUMBER) - 1
            at = at + 1 & mask

    def _put(self, slot: int) -> None:
        slots = self._slots
        mask = len(slots) - 1
        at = slot >> NUMBER_BITS & mask
        while slots[at]:
            at = at + 1 & mask
        slots[at] = slot

    def _grow(self) -> None:
        before, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
        for slot in before:
            if slot:
                self._put(slot)
