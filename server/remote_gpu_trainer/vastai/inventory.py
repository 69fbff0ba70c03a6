"""All instances of the account, page by page, with the proof that none is missing."""

from collections import Counter
from dataclasses import dataclass, field

from remote_gpu_trainer.domain.instances import Instance
from remote_gpu_trainer.vastai.answers import Row, as_row, as_rows
from remote_gpu_trainer.vastai.calls import Call, Repeat
from remote_gpu_trainer.vastai.refusals import unreadable
from remote_gpu_trainer.vastai.translate import Incomplete, instance_of
from remote_gpu_trainer.vastai.transport import Transport
from remote_gpu_trainer.vastai.wire import read_text, read_whole

PAGE = 25
"""Rows a page at most (OpenAPI 2026-08)."""
MOST_PAGES = 400
NOT_DONE = "Nothing is concluded about any instance."


@dataclass
class Look:
    """One reading of the whole list."""

    instances: list[Instance] = field(default_factory=list[Instance])
    totals: set[int | None] = field(default_factory=set[int | None])
    counts: Row | None = None
    rows: int = 0
    unreadable: int = 0
    """Rows without an id, a machine or a rental type: they are there, and we cannot say what they are."""
    ended: bool = False
    """The last page said that there is no other."""

    @property
    def complete(self) -> bool:
        """Every page read, every row understood and named once, and both of the platform's own counts agree."""
        ids = {instance.id for instance in self.instances}
        if not self.ended or len(ids) != self.rows or self.totals != {self.rows}:
            return False
        return self.counts is None or self._counts_agree()

    def _counts_agree(self) -> bool:
        seen = Counter(instance.label or "" for instance in self.instances)
        told = {read_text(label) or "": read_whole(count) for label, count in (self.counts or {}).items()}
        return told == dict(seen)


def list_call(token: str | None) -> Call:
    """One page of ``GET /api/v1/instances/`` in the order of ids."""
    query = {"limit": str(PAGE), "order_by": '[{"col":"id","dir":"asc"}]'}
    if token is not None:
        query["after_token"] = token
    return Call("listing instances", "GET", "/api/v1/instances/", "list", Repeat.READ, NOT_DONE, query=query)


async def look(transport: Transport) -> Look:
    """Read every page. A token that comes twice or too many pages end the look as incomplete.

    Raises:
        MarketError: as every read.
    """
    found, token, tokens = Look(), None, set[str]()
    for _ in range(MOST_PAGES):
        call = list_call(token)
        page = await transport.row(call)
        rows = as_rows(page.get("instances"))
        if rows is None:
            raise unreadable(call, transport.redactor, "the answer holds no list of instances")
        _take(found, page, rows, loopback_ok=transport.loopback)
        following = page.get("next_token")
        if following is None or following == "":
            found.ended = True
            return found
        if not isinstance(following, str) or following in tokens or len(following) > 4096:
            return found
        tokens.add(following)
        token = following
    return found


def _take(found: Look, page: Row, rows: list[Row | None], *, loopback_ok: bool) -> None:
    found.totals.add(read_whole(page.get("total_instances")))
    if found.counts is None:
        found.counts = as_row(page.get("label_counts"))
    for row in rows:
        found.rows += 1
        try:
            if row is None:
                raise Incomplete("a row is no object")
            found.instances.append(instance_of(row, loopback_ok=loopback_ok))
        except Incomplete:
            found.unreadable += 1
