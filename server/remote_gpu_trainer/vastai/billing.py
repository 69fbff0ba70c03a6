"""The platform's own bill, page by page."""

import json
from datetime import UTC, datetime, timedelta

from remote_gpu_trainer.domain.instances import Charge
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.vastai.answers import as_rows
from remote_gpu_trainer.vastai.calls import Call, Repeat
from remote_gpu_trainer.vastai.refusals import unreadable
from remote_gpu_trainer.vastai.translate import Incomplete, charges_of
from remote_gpu_trainer.vastai.transport import Transport

PAGE, MOST_PAGES = 500, 100
"""Rows a page (the server's maximum, OpenAPI 2026-08), and pages that we read at most."""


async def charges(transport: Transport, since: datetime) -> list[Charge]:
    """Every charge of the days from ``since`` to now.

    Raises:
        InvalidRequest: ``since`` is not aware.
        UnexpectedAnswer: an amount is missing, or the pages have no end.
    """
    if since.tzinfo is None:
        raise InvalidRequest("the start of the bill has no time zone", effect="Nothing was read.")
    first = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    last = transport.clock.now() + timedelta(days=1)
    days = {"day": {"gte": int(first.timestamp()), "lte": int(last.timestamp())}}
    query = {"select_filters": json.dumps(days), "limit": str(PAGE), "latest_first": "true"}
    found: list[Charge] = []
    for _ in range(MOST_PAGES):
        call = _page(query)
        page = await transport.row(call)
        rows = as_rows(page.get("results"))
        if rows is None:
            raise unreadable(call, transport.redactor, "the answer holds no list of results")
        try:
            found += [charge for row in rows for charge in charges_of(row or {})]
        except Incomplete as incomplete:
            raise unreadable(call, transport.redactor, str(incomplete)) from None
        token = page.get("next_token")
        if token is None or token == "":
            return found
        if not isinstance(token, str) or token == query.get("after_token"):
            raise unreadable(call, transport.redactor, "the next page has no usable token")
        query = query | {"after_token": token}
    raise unreadable(_page(query), transport.redactor, f"the bill has more than {MOST_PAGES} pages")


def _page(query: dict[str, str]) -> Call:
    return Call("reading charges", "GET", "/api/v0/charges/", "charges", Repeat.READ, "Nothing was read.", query=query)
