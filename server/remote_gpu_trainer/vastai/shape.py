"""Does the platform still answer in the shape that we read? What ``rgt doctor --live`` compares. Reads only."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from remote_gpu_trainer.domain.offers import OfferQuery, RentalType
from remote_gpu_trainer.errors import MarketError
from remote_gpu_trainer.vastai import wire
from remote_gpu_trainer.vastai.answers import Row, as_row, as_rows
from remote_gpu_trainer.vastai.calls import Call
from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.inventory import list_call
from remote_gpu_trainer.vastai.routes import account_call, search_call, ssh_keys_call, volumes_call
from remote_gpu_trainer.vastai.status import ACTUAL, STATES

SAMPLE_GIB = 10.0


class ShapeProblem(StrEnum):
    """What can differ."""

    MISSING = "missing"
    """A field that we need is in no row."""
    NULL = "null"
    """A field that we need is null in some rows: those rows are dropped or refused."""
    TYPE = "type"
    """A field is there in a type that we cannot read."""
    VALUE = "value"
    """A status word that the table does not know."""
    UNANSWERED = "unanswered"
    """The call was refused or its answer has another form altogether."""


@dataclass(frozen=True)
class ShapeFinding:
    """One difference. ``seen`` quotes types and status words, never other values."""

    endpoint: str
    field: str
    problem: ShapeProblem
    expected: str
    seen: str
    rows: int
    """How many of the sampled rows show it."""


Reader = Callable[[object], object]
_EXPECTED: Mapping[object, tuple[str, Reader]] = {
    wire.read_number: ("number", wire.read_number),
    wire.read_whole: ("whole number", wire.read_whole),
    wire.read_text: ("text", wire.read_text),
    wire.read_flag: ("true or false", wire.read_flag),
    wire.read_ports: ("object of lists", as_row),
    wire.read_rows: ("list of objects", as_rows),
}
_STATUS_WORDS: Mapping[str, frozenset[str | None]] = {
    "actual_status": ACTUAL,
    "intended_status": frozenset(STATES),
    "cur_state": frozenset(STATES),
    "next_state": frozenset(STATES),
}


async def compare_shapes(client: VastClient) -> list[ShapeFinding]:
    """Read the account, one page of instances, both kinds of offers, the keys and the volumes, and compare.

    An empty list says that every row sampled can be read; an account without instances samples none of them.
    """
    found: list[ShapeFinding] = []
    found += await _rows_of(client, account_call(), None, wire.WireAccount)
    found += await _rows_of(client, list_call(None), "instances", wire.WireInstance)
    for rental in RentalType:
        query = OfferQuery(rental=rental, limit=32)
        found += await _rows_of(client, search_call(query, SAMPLE_GIB), "offers", wire.WireOffer, name=rental.value)
    found += await _rows_of(client, volumes_call(), "volumes", wire.WireVolume)
    found += await _rows_of(client, ssh_keys_call(), None, wire.WireKey)
    return found


async def _rows_of(
    client: VastClient, call: Call, inside: str | None, model: type[wire.Wire], *, name: str = ""
) -> list[ShapeFinding]:
    endpoint = f"{call.method} {call.path}" + (f" ({name})" if name else "")
    try:
        answer = await client.transport.json(call)
    except MarketError as error:
        return [ShapeFinding(endpoint, "", ShapeProblem.UNANSWERED, "an answer", error.code, 0)]
    holder = (as_row(answer) or {}).get(inside) if inside else answer
    single = as_row(holder)
    rows = as_rows(holder) if single is None or inside else [single]
    if rows is None:
        expected = f"a list {inside}" if inside else "an object or a list"
        return [ShapeFinding(endpoint, inside or "", ShapeProblem.UNANSWERED, expected, type(holder).__name__, 0)]
    return compare_rows(endpoint, [row or {} for row in rows], model)


def compare_rows(endpoint: str, rows: list[Row], model: type[wire.Wire]) -> list[ShapeFinding]:
    """Compare sampled rows with what a wire model needs."""
    if not rows:
        return []
    found: list[ShapeFinding] = []
    for field, info in model.model_fields.items():
        readers = (getattr(part, "func", None) for part in info.metadata)
        expected, read = next((_EXPECTED[r] for r in readers if r in _EXPECTED), ("object", as_row))
        found += _compare_field(_Column(endpoint, rows, field, expected, field in model.NEEDED), read)
    if model is wire.WireInstance:
        found += _compare_words(endpoint, rows)
    return found


@dataclass(frozen=True)
class _Column:
    endpoint: str
    rows: list[Row]
    field: str
    expected: str
    needed: bool

    def finding(self, problem: ShapeProblem, seen: str, count: int) -> ShapeFinding:
        return ShapeFinding(self.endpoint, self.field, problem, self.expected, seen, count)


def _compare_field(column: _Column, read: Reader) -> Iterable[ShapeFinding]:
    present = [row[column.field] for row in column.rows if column.field in row]
    values = [value for value in present if value is not None]
    lacking = len(column.rows) - len(values)
    if column.needed and not present:
        yield column.finding(ShapeProblem.MISSING, "absent", lacking)
    elif column.needed and lacking:
        yield column.finding(ShapeProblem.NULL, "null or absent", lacking)
    wrong = [value for value in values if read(value) is None]
    if wrong:
        types = ", ".join(sorted({type(value).__name__ for value in wrong}))
        yield column.finding(ShapeProblem.TYPE, types, len(wrong))


def _compare_words(endpoint: str, rows: list[Row]) -> Iterable[ShapeFinding]:
    for field, known in _STATUS_WORDS.items():
        words = [row.get(field) for row in rows]
        strange = [word for word in words if isinstance(word, str) and word.strip().lower() not in known]
        if strange:
            shown = ", ".join(sorted({ascii(word[:40]) for word in strange}))
            expected = ", ".join(sorted(word for word in known if word))
            yield ShapeFinding(endpoint, field, ShapeProblem.VALUE, expected, shown, len(strange))
