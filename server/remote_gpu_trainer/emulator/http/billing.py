"""What it cost: charges per contract, payments, and the older report of both."""

import base64
import json
from typing import Any

from remote_gpu_trainer.emulator.book import DAY_S
from remote_gpu_trainer.emulator.filters import BadQuery, as_filters
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Json, Refusal, refusal
from remote_gpu_trainer.emulator.meter import KINDS, Ledger
from remote_gpu_trainer.emulator.money import usd

CHARGES_MOST, CHARGES_DEFAULT, INVOICES_DEFAULT = 500, 100, 60


def charges(call: Call) -> Answer:
    """``GET /api/v0/charges/``: one row per contract with its GPU, disk and bandwidth items over the days asked for."""
    call.world.balance()
    wanted = _filters(call)
    day = wanted.get("day", {})
    if "gte" not in day or "lte" not in day:
        raise Refusal(
            Answer({"success": False, "msg": "Must provide both 'day' gte and lte filters for instance charges"}, 400)
        )
    first, last = _moment(day["gte"]), _moment(day["lte"])
    kinds = wanted.get("type", {}).get("in") or ["instance", "volume"]
    rows = [
        row
        for ledger in call.world.meter.ledgers.values()
        if ledger.kind in kinds and (row := charge_row(ledger, first, last))
    ]
    rows.sort(key=lambda row: (row["start"], row["source"]), reverse=_flag(call, "latest_first"))
    return _paged(call, rows, _limit(call, CHARGES_DEFAULT, CHARGES_MOST))


def charge_row(ledger: Ledger, first: float, last: float) -> Json | None:
    """One contract's charges in USD on the days from ``first`` to ``last`` (epoch seconds); None without any."""
    lines = {(day, kind): line for (day, kind), line in ledger.lines.items() if first - DAY_S < day * DAY_S <= last}
    if not lines:
        return None
    days = [day for day, _ in lines]
    start, end = int(min(days) * DAY_S), int((max(days) + 1) * DAY_S)
    items: list[Json] = []
    for kind in KINDS:
        found = [line for (_, k), line in lines.items() if k == kind]
        amount, quantity = sum(line.amount for line in found), sum(line.quantity for line in found)
        if found:
            items.append(
                {
                    "start": start,
                    "end": end,
                    "type": kind,
                    "source": None,
                    "description": _describe(kind, quantity, amount, found[-1].rate),
                    "amount": usd(amount),
                    "metadata": {},
                    "items": [],
                }
            )
    number = f"{ledger.kind}-{ledger.contract_id}"
    return {
        "start": start,
        "end": end,
        "type": ledger.kind,
        "source": number,
        "description": f"{ledger.kind.capitalize()} {ledger.contract_id} Charges - {len(set(days))} days",
        "amount": usd(sum(line.amount for line in lines.values())),
        "metadata": {"label": ledger.label or ""},
        "items": items,
    }


def _describe(kind: str, quantity: float, amount: int, rate: int) -> str:
    """How much of it, and its price: the mean where the price changed in between, as a bid's does."""
    whole = quantity / (3600 if kind in ("gpu", "disk") else 1e9)
    price = amount / whole if whole > 1e-6 else rate
    if kind in ("gpu", "disk"):
        return f"{whole:.3f} hours at ${usd(price):.6g}/hour"
    return f"{whole:.6f} GB at ${usd(price):.6g}/GB"


def invoices(call: Call) -> Answer:
    """``GET /api/v1/invoices/``: payments. A missing range answers 200 with ``success: false``, as documented."""
    when = _filters(call).get("when", {})
    bounds = {op: _moment(value) for op, value in when.items() if op in ("gte", "gt", "lte", "lt")}
    if not bounds:
        return Answer(
            {"success": False, "error": "Invalid date range", "count": 0, "total": 0, "results": [], "next_token": None}
        )
    low, high = bounds.get("gte", bounds.get("gt", 0.0)), bounds.get("lte", bounds.get("lt", float("inf")))
    rows: list[Json] = [
        {
            "start": credit.when,
            "end": credit.when,
            "type": "credit",
            "source": "stripe",
            "description": credit.description,
            "amount": -usd(credit.amount),
            "metadata": {"invoice_id": credit.id, "service": credit.service},
            "items": [],
        }
        for credit in call.world.account.credits
        if low <= credit.when <= high
    ]
    rows.sort(key=lambda row: row["start"], reverse=_flag(call, "latest_first"))
    return _paged(call, rows, _limit(call, INVOICES_DEFAULT, 100))


def report(call: Call) -> Answer:
    """``GET /api/v0/users/{user_id}/invoices``: the older report, charges and payments in one list."""
    world = call.world
    balance = usd(world.balance())
    first, last = _moment(call.query.get("sdate", 0)), _moment(call.query.get("edate", 4e9))
    rows: list[Json] = [
        {
            "type": "payment",
            "description": c.description,
            "amount": f"{usd(c.amount):.2f}",
            "timestamp": c.when,
            "quantity": "",
            "rate": "",
        }
        for c in world.account.credits
        if first <= c.when <= last
    ]
    if call.query.get("inc_charges", "true").lower() != "false":
        for ledger in world.meter.ledgers.values():
            row = charge_row(ledger, first, last)
            rows += [_report_row(ledger, item) for item in row["items"]] if row else []
    current = {
        "charges": usd(world.meter.total()),
        "service_fee": 0.0,
        "total": usd(world.meter.total()),
        "credit": balance,
    }
    return Answer({"success": True, "invoices": rows, "current": current})


def _report_row(ledger: Ledger, item: Json) -> Json:
    return {
        "type": "charge",
        "instance_id": ledger.contract_id,
        "description": f"{ledger.kind} {ledger.contract_id} {item['type']}: {item['description']}",
        "amount": f"{item['amount']:.6f}",
        "timestamp": item["start"],
        "quantity": "",
        "rate": "",
    }


def deposit(call: Call) -> Answer:
    """``GET /api/v0/instances/balance/{id}/``: nothing is prepaid here."""
    call.contract()
    return Answer({"success": True, "refundable_deposit": 0.0, "total_discount": 0.0, "discount_months": 0})


def _filters(call: Call) -> dict[str, dict[str, Any]]:
    try:
        return as_filters(call.json_query("select_filters", {}))
    except BadQuery as bad:
        raise refusal(400, "invalid_request", str(bad)) from None


def _moment(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise refusal(400, "invalid_request", "Error in query parameters: dates are unix seconds") from None


def _flag(call: Call, name: str) -> bool:
    return call.query.get(name, "false").lower() == "true"


def _limit(call: Call, default: int, most: int) -> int:
    try:
        limit = int(call.query.get("limit", default))
    except ValueError:
        raise refusal(400, "invalid_request", "Error in query parameters: limit must be an integer") from None
    return min(most, limit) if limit > 0 else default


def _paged(call: Call, rows: list[Json], limit: int) -> Answer:
    start = 0
    if token := call.query.get("after_token"):
        try:
            start = int(json.loads(base64.urlsafe_b64decode(token))["values"]["row"])
        except (ValueError, KeyError, TypeError):
            raise refusal(400, "invalid_token", "Invalid pagination token") from None
    page, after = rows[max(0, start) :][:limit], max(0, start) + limit
    more = (
        base64.urlsafe_b64encode(json.dumps({"values": {"row": after}}).encode()).decode()
        if after < len(rows)
        else None
    )
    return Answer({"success": True, "count": len(page), "total": len(rows), "next_token": more, "results": page})


ROUTES = [
    Endpoint("GET", "/api/v0/charges", charges, 1.0, "billing_read", "api.billing.charges"),
    Endpoint("GET", "/api/v1/invoices", invoices, 3.0, "billing_read", "api.billing.invoices"),
    Endpoint("GET", "/api/v0/users/{user_id}/invoices", report, 0.0, "billing_read", "api.billing.report"),
    Endpoint("GET", "/api/v0/instances/balance/{id}", deposit, 3.0, "billing_read", "api.instance.balance"),
]
