"""Proofs of a million files: the same values as before, packed."""

import gc
import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.domain.artifacts import ArtifactFinding, FileProof, Severity, VerificationLevel
from remote_gpu_trainer.domain.entries import Entries, EntryKind, ManifestEntry
from remote_gpu_trainer.domain.proofs import BLOCK, MOST_KNOWN, Proofs, Texts
from remote_gpu_trainer.verify.roll import Roll, Seen

FINDINGS = st.builds(ArtifactFinding, code=st.text(max_size=8), severity=st.sampled_from(Severity), message=st.text())
FACTS = st.dictionaries(
    st.text(max_size=5),
    st.text(max_size=5)
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)
PROOFS = st.lists(
    st.builds(
        FileProof,
        path=st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        size=st.integers(0, 2**62),
        sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
        level=st.sampled_from(VerificationLevel),
        format=st.none() | st.text(max_size=6),
        mtime_ns=st.integers(-(2**62), 2**62),
        findings=st.lists(FINDINGS, max_size=3).map(tuple),
        facts=FACTS,
    ),
    max_size=12,
)


def proof(number: int, *, level: VerificationLevel = VerificationLevel.DIGEST, broken: bool = False) -> FileProof:
    finding = ArtifactFinding(code="truncated", severity=Severity.ERROR, message="it ends too early")
    return FileProof(
        path=f"shard-{number % 100:02}/sample-{number:07}.bin",
        size=number,
        sha256=f"{number:064x}",
        level=level,
        format=None,
        mtime_ns=1_785_000_000_123_456_789,
        findings=(finding,) if broken else (),
    )


@given(PROOFS)
def test_packed_proofs_are_what_was_packed(proofs: list[FileProof]) -> None:
    packed = Proofs.of(proofs)
    assert packed == proofs
    assert list(packed) == proofs
    assert [packed.level(at) for at in range(len(packed))] == [one.level for one in proofs]
    assert packed.lowest() == min((one.level for one in proofs), default=None)
    faulty = [one for one in proofs if any(finding.severity is Severity.ERROR for finding in one.findings)]
    assert list(packed.broken()) == faulty


@given(st.lists(st.binary(max_size=20)))
def test_texts_come_back_by_their_numbers(given: list[bytes]) -> None:
    texts = Texts()
    numbers = [texts.add(text) for text in given]
    assert [texts.get(number) for number in numbers] == given


def test_more_texts_than_are_known_by_heart_and_than_fit_into_a_block_come_back() -> None:
    texts, wanted = Texts(), [f"{number:0400}".encode() for number in range(MOST_KNOWN + 100)]
    assert sum(map(len, wanted)) > BLOCK
    numbers = [texts.add(text) for text in wanted]
    assert [texts.get(number) for number in numbers] == wanted


def promised(count: int) -> Entries:
    """A manifest of as many files, of which the last is another one by now."""
    return Entries.of(
        ManifestEntry(
            path=(one := proof(number)).path,
            kind=EntryKind.FILE,
            size=one.size + (number == count - 1),
            mtime_ns=one.mtime_ns,
            sha256=one.sha256,
        )
        for number in range(count)
    )


@pytest.mark.parametrize("entries", [None, promised(5)])
def test_files_that_were_proven_in_any_order_are_told_in_theirs(entries: Entries | None) -> None:
    roll = Roll(5, entries)
    for number in (3, 0, 4):
        roll.put(number, Seen(proof(number), kind="json" if number else None, numbers={"loss": math.inf}))
    assert roll.arrange() == [1, 2]
    assert [one.size for one in roll.proofs] == [0, 3, 4]
    assert [(at, item.proof.size, item.numbers) for at, item in roll.asked()] == [
        (1, 3, {"loss": math.inf}),
        (2, 4, {"loss": math.inf}),
    ]
    roll.replace(1, Seen(proof(3, broken=True), kind="json", part=True))
    roll.proofs.raise_to(2, VerificationLevel.LOADS)
    assert [one.level.name for one in roll.proofs] == ["DIGEST", "DIGEST", "LOADS"]
    assert [one.size for one in roll.proofs.broken()] == [3]
    assert roll[1].part


def test_an_order_of_proofs_takes_no_more_of_them() -> None:
    roll = Roll(1)
    roll.put(0, Seen(proof(0)))
    roll.arrange()
    with pytest.raises(ValueError, match="takes no more"):
        roll.proofs.append(proof(1))


def test_a_promised_file_that_is_here_as_it_was_promised_is_told_as_proven() -> None:
    roll = Roll(3, promised(3))
    for number in range(3):
        roll.put(number, Seen(proof(number)))
    assert roll.arrange() == []
    assert roll.proofs == [proof(number) for number in range(3)]


@pytest.mark.parametrize(("entries", "most"), [(None, 150), (promised(20_000), 20)])
def test_a_proof_takes_few_bytes(entries: Entries | None, most: int) -> None:
    count = 20_000
    gc.collect()
    tracemalloc.start()
    try:
        roll = Roll(count, entries)
        for number in range(count):
            roll.put(number, Seen(proof(number)))
        roll.arrange()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / count < most
    assert len(json.dumps(roll[7].proof.model_dump(mode="json"))) > 150
