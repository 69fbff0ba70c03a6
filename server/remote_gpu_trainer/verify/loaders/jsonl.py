"""JSON lines, as metrics are written: every line parsed, a cut last line named."""

import math
from collections.abc import Iterator

from remote_gpu_trainer.verify.loaders.jsontext import numbers_of, parse_json, tell_numbers
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

LINE_MOST = 8 << 20


def load(source: Source) -> Outcome:
    """Read the file as one JSON value per line.

    Raises:
        BrokenArtifact: a line other than the last is not JSON, or is longer than 8 MiB.
    """
    outcome = Outcome()
    lines = odd_lines = 0
    last: object = None
    for number, line, ended in lines_of(source):
        if not line.strip():
            continue
        try:
            last = parse_json(line, what=f"line {number}")
        except BrokenArtifact as broken:
            if ended:
                raise
            outcome.warn("truncated-tail", f"line {number}, the last, is cut after {len(line)} bytes ({broken.code})")
            break
        lines += 1
        odd_lines += not all(math.isfinite(value) for value in numbers_of(last).values())
    outcome.facts["lines"] = lines
    if not lines:
        outcome.warn("empty", "it holds no complete line")
    if odd_lines:
        outcome.facts["non_finite_lines"] = odd_lines
        outcome.warn("non-finite-lines", f"{odd_lines} of {lines} lines hold a number that is not finite")
    tell_numbers(numbers_of(last), outcome)
    return outcome


def lines_of(source: Source) -> Iterator[tuple[int, bytes, bool]]:
    """Number from 1, bytes, and whether a line end followed."""
    with source.stream() as stream:
        number = 0
        while line := stream.readline(LINE_MOST + 1):
            number += 1
            if len(line) > LINE_MOST:
                raise BrokenArtifact("line-too-long", f"line {number} is longer than {LINE_MOST} bytes")
            yield number, line.rstrip(b"\r\n"), line.endswith(b"\n")
