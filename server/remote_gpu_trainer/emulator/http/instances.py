"""Reading instances: one, the paged list, its filters, and the retired list."""

import base64
import json
from collections import Counter
from typing import Any

from remote_gpu_trainer.emulator.filters import BadQuery, as_filters, matches, ordered
from remote_gpu_trainer.emulator.http.calls import (
    Answer,
    Call,
    Endpoint,
    Json,
    Refusal,
    as_list,
    as_object,
    is_visible,
    refusal,
)
from remote_gpu_trainer.emulator.instance_row import instance_row

PAGE_MOST = 25


def show(call: Call) -> Answer:
    """``GET /api/v0/instances/{id}/``: 200 with null for a missing one."""
    contract = call.visible(call.number("id"))
    if contract is None and not call.world.quirks.on("missing-is-null"):
        raise refusal(404, "no_such_instance", f"Instance {call.number('id')} not found.")
    if contract is not None:
        call.world.count_bytes([contract])
    return Answer({"instances": instance_row(call.world, contract) if contract else None})


def show_retired(call: Call) -> Answer:
    """``GET /api/v0/instances/``: retired with 410 (seen live 2026)."""
    if call.world.quirks.on("v0-list-retired"):
        raise refusal(410, "deprecated_endpoint", "This endpoint is deprecated. Use GET /api/v1/instances/ instead.")
    return Answer({"instances": visible_rows(call)})


def visible_rows(call: Call) -> list[Json]:
    """All instances that reads show now."""
    shown = [c for c in call.world.contracts.values() if is_visible(c, call.world.now)]
    call.world.count_bytes(shown)
    return [instance_row(call.world, c) for c in shown]


def show_page(call: Call) -> Answer:
    """``GET /api/v1/instances/``: filters, order, columns, at most 25 rows a page with a keyset token."""
    rows = visible_rows(call)
    known = frozenset(instance_columns())
    try:
        filters = as_filters(call.json_query("select_filters", {}))
        order = _order(call.json_query("order_by", []))
        found = [row for row in rows if matches(row, filters, known)]
        found = ordered(found, [*order, ("id", "asc")], known)
    except BadQuery as bad:
        raise Refusal(Answer({"error": "invalid_request", "msg": str(bad)}, 400)) from None
    limit = _limit(call.query.get("limit"))
    rest = _after(found, call.query.get("after_token"))
    page = rest[:limit]
    token = _token(page[-1]["id"]) if len(rest) > limit else None
    columns = call.json_query("select_cols", ["*"])
    return Answer(
        {
            "success": True,
            "instances_found": len(found),
            "total_instances": len(found),
            "label_counts": dict(Counter(row["label"] or "" for row in found)),
            "next_token": token,
            "instances": [_columns(row, columns) for row in page],
        }
    )


def _order(directives: Any) -> list[tuple[str, str]]:
    listed = as_list(directives)
    if listed is None:
        raise BadQuery("Error in query parameters: order_by must be a list")
    order: list[tuple[str, str]] = []
    for directive in listed:
        blob = as_object(directive)
        if blob is None or "col" not in blob:
            raise BadQuery("Error in query parameters: order_by needs col")
        order.append((str(blob["col"]), str(blob.get("dir", "asc"))))
    return order


def _limit(text: str | None) -> int:
    try:
        limit = int(text) if text else PAGE_MOST
    except ValueError:
        raise Refusal(
            Answer({"error": "invalid_request", "msg": "Error in query parameters: limit must be an integer"}, 400)
        ) from None
    return 5 if limit <= 0 else min(limit, PAGE_MOST)


def _token(instance_id: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"values": {"id": instance_id}}).encode()).decode()


def _after(rows: list[Json], token: str | None) -> list[Json]:
    """Rows behind the one that a token names; from the first when that one is gone by id."""
    if not token:
        return rows
    try:
        last = int(json.loads(base64.urlsafe_b64decode(token.encode()))["values"]["id"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(Answer({"error": "invalid_token", "msg": "Invalid pagination token"}, 400)) from None
    for index, row in enumerate(rows):
        if row["id"] == last:
            return rows[index + 1 :]
    return [row for row in rows if row["id"] > last]


def _columns(row: Json, columns: Any) -> Json:
    listed = as_list(columns)
    if listed is None or "*" in listed:
        return row
    return {str(column): row.get(str(column)) for column in listed}


def instance_columns() -> set[str]:
    """Columns that the list can be filtered and ordered by."""
    return set(_FILTERABLE)


_FILTERABLE = (
    "id actual_status intended_status cur_state next_state label gpu_name num_gpus verification machine_id host_id "
    "image_uuid template_id template_hash_id start_date end_date geolocation disk_space is_bid reliability2 gpu_ram"
).split()


def filters(call: Call) -> Answer:
    """``GET /api/v0/instances/filters/``: distinct values, as the CLI reads them for its panel."""
    rows = visible_rows(call)
    distinct = {(r["actual_status"], r["verification"], r["gpu_name"]) for r in rows}
    keys = ("actual_status", "verification", "gpu_name")
    return Answer(
        {"success": True, "filters": [dict(zip(keys, values, strict=True)) for values in sorted(distinct, key=str)]}
    )


ROUTES = [
    Endpoint("GET", "/api/v0/instances/filters", filters, 0.0, "instance_read", "api.instances.filters"),
    Endpoint("GET", "/api/v0/instances/{id}", show, 2.0, "instance_read", "api.instance.show"),
    Endpoint("GET", "/api/v0/instances", show_retired, 0.0, "instance_read", "api.instances.show"),
    Endpoint("GET", "/api/v1/instances", show_page, 1.0, "instance_read", "api.instances.show"),
]
