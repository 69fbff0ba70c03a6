"""JSON from a stranger: depth, size and doubled keys are bounded before anything is built."""

import json
import math
import re
from typing import Any, cast

from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

DEPTH_MOST = 200
WHOLE_MOST = 128 << 20
"""Bytes of one JSON document."""
NAME_MOST, PART_MOST, PARTS_MOST, SHARDS_MOST = 500, 200, 10_000, 8 << 20
"""Letters of a tensor's and of a part's name, parts, and letters of all names together."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)

_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(data: bytes, *, what: str = "document") -> object:
    """One JSON value; NaN and Infinity are taken as floats, so that they can be reported.

    Raises:
        BrokenArtifact: ``too-deep``, ``not-utf8``, ``duplicate-key`` or ``not-json``.
    """
    depth = 0
    for match in _TOKENS.finditer(data):
        opening = data[match.start()]
        if opening in b"[{":
            depth += 1
            if depth > DEPTH_MOST:
                raise BrokenArtifact("too-deep", f"the {what} nests deeper than {DEPTH_MOST}")
        elif opening in b"]}":
            depth -= 1
    try:
        value = cast(object, json.loads(data.decode("utf-8"), object_pairs_hook=_unique))
        if _HALF_PAIR.search(data):  # only then may a letter be no letter
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError as error:
        raise BrokenArtifact("not-utf8", f"the {what} holds half of a pair that makes a letter") from error
    except UnicodeDecodeError as error:
        raise BrokenArtifact("not-utf8", f"the {what} is not UTF-8 at byte {error.start}") from error
    except ValueError as error:  # JSONDecodeError, and integers longer than Python converts
        raise BrokenArtifact("not-json", f"the {what} is not JSON: {str(error)[:120]}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BrokenArtifact("duplicate-key", "an object names one key twice")
    return result


def numbers_of(value: object) -> dict[str, float]:
    """The numbers of an object, nested ones by dotted name; at most 1,000."""
    found: dict[str, float] = {}
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting and len(found) < 1000:
        prefix, item = waiting.pop()
        if isinstance(item, dict):
            entries = cast(dict[str, object], item)
            waiting.extend((f"{prefix}.{key}" if prefix else key, entry) for key, entry in entries.items())
        elif isinstance(item, int | float) and not isinstance(item, bool) and prefix and len(prefix) <= 200:
            found[prefix] = _as_float(item)
    return found


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def tell_numbers(numbers: dict[str, float], outcome: Outcome) -> None:
    """Keep the numbers, with step and epoch as facts and a warning for what is not finite."""
    outcome.numbers = numbers
    for key, fact in (("step", "step"), ("global_step", "step"), ("epoch", "epoch")):
        number = numbers.get(key)
        if number is None or not math.isfinite(number) or abs(number) >= 2**53:
            continue
        if number == int(number):
            outcome.facts.setdefault(fact, int(number))
        elif fact == "epoch":  # trainers write how much of it is done
            outcome.facts.setdefault(fact, number)
    odd = sorted(key for key, number in numbers.items() if not math.isfinite(number))
    if odd:
        outcome.warn("non-finite", f"{len(odd)} numbers are not finite, first {odd[0][:80]!r}")


def _beside(part: str) -> bool:
    plain = part.isprintable() and "/" not in part and "\\" not in part
    return plain and part not in {"", ".", ".."} and len(part) <= PART_MOST


def _tell_shards(index: dict[str, object], outcome: Outcome) -> None:
    """Keep which part of a model holds which tensor, as the index of transformers and diffusers says it."""
    if "weight_map" not in index:
        return
    weight_map = index["weight_map"]
    entries = cast(dict[str, object], weight_map) if isinstance(weight_map, dict) else {}
    pairs = [(name, part) for name, part in entries.items() if isinstance(part, str)]
    if not pairs or len(pairs) != len(entries) or any(len(name) > NAME_MOST for name, _ in pairs):
        outcome.warn("odd-index", "its weight_map does not name a file for each tensor, so no part was looked for")
        return
    if any(not _beside(part) for _, part in pairs):
        outcome.error("unsafe-name", "it names a part that does not lie beside it")
        return
    if sum(len(name) for name, _ in pairs) > SHARDS_MOST or len({part for _, part in pairs}) > PARTS_MOST:
        outcome.warn("too-large", "it names more tensors than are compared with its parts")
        return
    for name, part in pairs:
        outcome.shards.setdefault(part, []).append(name)
    outcome.facts["parts"] = len(outcome.shards)
    metadata = index.get("metadata")
    total = cast(dict[str, object], metadata).get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, int | float) and not isinstance(total, bool) and 0 <= total < 2**62:
        outcome.facts["total_size"] = int(total)


def load(source: Source) -> Outcome:
    """Read the file as one JSON document."""
    if source.size > WHOLE_MOST:  # nothing is wrong with it; it is only more than is held in memory
        outcome = Outcome(loaded=False)
        outcome.warn("too-large", f"{source.size} bytes, and at most {WHOLE_MOST} are read whole; keep lines as .jsonl")
        return outcome
    outcome = Outcome()
    value = parse_json(source.read(0, source.size))
    if isinstance(value, dict):
        entries = cast(dict[str, object], value)
        outcome.facts.update(kind="object", entries=len(entries))
        _tell_shards(entries, outcome)
    elif isinstance(value, list):
        outcome.facts.update(kind="array", entries=len(cast(list[object], value)))
    tell_numbers(numbers_of(cast(object, value)), outcome)
    return outcome
