"""Searching: offers by both endpoints, and the GPU names."""

from typing import Any

from remote_gpu_trainer.emulator.filters import BadQuery
from remote_gpu_trainer.emulator.gpus import MODELS
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Refusal, as_object
from remote_gpu_trainer.emulator.search import search


def _search(call: Call, query: dict[str, Any]) -> Answer:
    try:
        rows = search(call.world, _country_codes(query))
    except (BadQuery, OverflowError) as bad:
        raise Refusal(Answer({"error": "invalid_request", "msg": str(bad)}, 400)) from None
    return Answer({"offers": rows})


def _country_codes(query: dict[str, Any]) -> dict[str, Any]:
    """The platform matches ``geolocation`` by its two-letter country code."""
    where = as_object(query.get("geolocation"))
    if where is None or any(isinstance(v, str) and len(v) > 2 for v in where.values()):
        return query
    return {k: v for k, v in query.items() if k != "geolocation"} | {"country": where}


def bundles(call: Call) -> Answer:
    """``POST /api/v0/bundles/``."""
    return _search(call, call.body)


def asks(call: Call) -> Answer:
    """``PUT /api/v0/search/asks/``: the same search in an envelope ``{"select_cols", "q"}``."""
    query = as_object(call.body.get("q", {}))
    if query is None:
        raise Refusal(Answer({"error": "invalid_request", "msg": "Invalid query, must be dict of conditions"}, 400))
    return _search(call, query)


def bundles_by_get(call: Call) -> Answer:
    """``GET /api/v0/bundles?q={...}``."""
    query = as_object(call.json_query("q", {}))
    if query is None:
        raise Refusal(Answer({"error": "invalid_request", "msg": "Invalid query, must be dict of conditions"}, 400))
    return _search(call, query)


def gpu_names(call: Call) -> Answer:
    """``GET /api/v0/gpu_names/unique/``."""
    return gpu_names_answer()


def gpu_names_answer() -> Answer:
    """The models of the market: the CLI reads them while it starts, without a key."""
    return Answer({"success": True, "gpu_names": sorted(model.name for model in MODELS)})


ROUTES = [
    Endpoint("POST", "/api/v0/bundles", bundles, 0.0, "misc", "api.search.offers"),
    Endpoint("GET", "/api/v0/bundles", bundles_by_get, 0.0, "misc", "api.search.offers"),
    Endpoint("PUT", "/api/v0/search/asks", asks, 0.0, "misc", "api.search.asks"),
]
OPEN_ROUTES = [Endpoint("GET", "/api/v0/gpu_names/unique", gpu_names)]
