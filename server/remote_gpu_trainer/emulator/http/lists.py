"""Reads that the official CLI makes on its way, and lists that are empty for a plain renter."""

from typing import Any

from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Handler
from remote_gpu_trainer.emulator.http.instances import visible_rows


def _empty(body: Any) -> Handler:
    def handler(call: Call) -> Answer:
        return Answer(body)

    return handler


def connections(call: Call) -> Answer:
    """``GET /api/v0/users/cloud_integrations/``: a bare list."""
    return Answer(call.world.account.connections)


def fetch_contracts(call: Call) -> Answer:
    """``POST /api/v0/contracts/fetch/``: contracts by label or ids."""
    label, ids = call.body.get("label"), call.body.get("contract_ids")
    rows = visible_rows(call)
    if label is not None:
        rows = [row for row in rows if row["label"] == label]
    if isinstance(ids, list):
        rows = [row for row in rows if row["id"] in ids]
    return Answer({"success": True, "contracts": rows})


def second_factor(call: Call) -> Answer:
    """``GET /api/v0/tfa/status/``."""
    return Answer({"success": True, "tfa_enabled": call.world.account.tfa, "methods": [], "backup_codes_remaining": 0})


ROUTES = [
    Endpoint("GET", "/api/v0/users/cloud_integrations", connections, 2.9, "user_read", "api.connections.show"),
    Endpoint("POST", "/api/v0/contracts/fetch", fetch_contracts, 0.0, "instance_read", "api.contracts.fetch"),
    Endpoint("GET", "/api/v0/tfa/status", second_factor, 0.0, "user_read", "api.tfa.status"),
    Endpoint("GET", "/api/v0/subaccounts", _empty({"users": []}), 2.1, "user_read", "api.subaccounts.show"),
    Endpoint("GET", "/api/v0/commands/schedule_job", _empty([]), 0.0, "user_read", "api.jobs.show"),
    Endpoint("GET", "/api/v0/audit_logs", _empty([]), 0.0, "user_read", "api.audit.show"),
    Endpoint("GET", "/api/v0/instance_backups", _empty({"backups": []}), 0.0, "instance_read", "api.backups.show"),
    Endpoint(
        "GET",
        "/api/v0/instances/pending-price-increases",
        _empty({"success": True, "pending_price_increases": []}),
        0.0,
        "instance_read",
        "api.increases.show",
    ),
]
