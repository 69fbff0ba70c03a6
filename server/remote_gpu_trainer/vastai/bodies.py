"""What we send: the body of a search and the body of a create."""

from pydantic import JsonValue

from remote_gpu_trainer.domain.instances import InstanceOrder
from remote_gpu_trainer.domain.offers import OfferQuery, RentalType
from remote_gpu_trainer.errors import InvalidRequest

RAM_MB_PER_GIB = 1000
"""The official CLI 1.9.1 turns GB into the API's MB with it: 24 asks for 24,000 and finds cards of 24,564."""
SEARCH_TYPE = {RentalType.ON_DEMAND: "on-demand", RentalType.INTERRUPTIBLE: "bid"}
DIRECT_RUNTYPE, PROXY_RUNTYPE = "ssh_direc ssh_proxy", "ssh_proxy"
"""As the official CLI 1.9.1 sends them; the missing letter is the platform's."""
LEAST_BID, MOST_BID = 0.001, 128.0
"""USD per hour (OpenAPI 2026-08, create instance)."""


def search_body(query: OfferQuery, allocated_storage_gib: float) -> dict[str, JsonValue]:
    """The filters of a search, cheapest first, priced with that much disk."""
    body: dict[str, JsonValue] = {
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "num_gpus": {"eq": query.num_gpus},
        "reliability2": {"gte": query.min_reliability},
        "direct_port_count": {"gte": query.min_direct_ports},
        "disk_space": {"gte": max(float(query.min_disk_gib), allocated_storage_gib)},
        "type": SEARCH_TYPE[query.rental],
        "order": [["dph_total", "asc"]],
        "limit": query.limit,
        "allocated_storage": allocated_storage_gib,
    }
    if query.verified:
        body["verified"] = {"eq": True}
    if query.gpu_names:
        body["gpu_name"] = {"in": [name.replace("_", " ") for name in query.gpu_names]}
    if query.countries:
        body["geolocation"] = {"in": list(query.countries)}
    least: dict[str, float | None] = {
        "gpu_ram": None if query.min_gpu_ram_gib is None else query.min_gpu_ram_gib * RAM_MB_PER_GIB,
        "cuda_max_good": query.min_cuda,
        "duration": None if query.min_remaining_hours is None else query.min_remaining_hours * 3600,
        "inet_down": query.min_inet_down_mbps,
    }
    body |= {name: {"gte": value} for name, value in least.items() if value is not None}
    if query.max_usd_per_hour is not None:
        body["dph_total"] = {"lte": query.max_usd_per_hour}
    if query.machine_id is not None:
        body["machine_id"] = {"eq": query.machine_id}
    if query.offer_id is not None:
        # One offer is meant, whatever its size.
        body["ask_contract_id"] = {"eq": query.offer_id}
        del body["num_gpus"]
    return body


def order_body(order: InstanceOrder) -> dict[str, JsonValue]:
    """A create call. No key is ever sent empty or null; ``cancel_unavail`` is always said.

    Raises:
        InvalidRequest: the bid is outside what the platform takes, or an env name would be read as a Docker option.
    """
    body: dict[str, JsonValue] = {
        "client_id": "me",
        "image": order.image,
        "disk": float(order.disk_gib),
        "label": order.label,
        "runtype": DIRECT_RUNTYPE if order.direct else PROXY_RUNTYPE,
        "cancel_unavail": order.cancel_unavailable,
    }
    if order.onstart:
        body["onstart"] = order.onstart
    if env := _environment(order):
        body["env"] = env
    if order.bid_usd_per_hour is not None:
        body["price"] = checked_bid(order.bid_usd_per_hour, "Nothing was rented.")
    if order.image_login:
        body["image_login"] = order.image_login
    if order.volume is not None:
        body["volume_info"] = {"create_new": False, "volume_id": order.volume.id, "mount_path": order.volume.path}
    return body


def _environment(order: InstanceOrder) -> dict[str, JsonValue]:
    env: dict[str, JsonValue] = {}
    for name, value in order.env.items():
        if not name or name.startswith("-") or "=" in name or any(c.isspace() for c in name):
            raise InvalidRequest(
                "an environment name is empty, begins with a dash, or holds white space or an equals sign",
                next_step="name it with letters, digits and underscores",
                effect="Nothing was rented.",
            )
        env[name] = value
    for port in order.ports:
        env[f"-p {port}"] = "1"
    return env


def checked_bid(price: float, effect: str) -> float:
    """A bid in USD per hour for the whole instance.

    Raises:
        InvalidRequest: it is outside LEAST_BID to MOST_BID.
    """
    if not LEAST_BID <= price <= MOST_BID:
        raise InvalidRequest(
            f"the bid of ${price:g}/h is outside ${LEAST_BID:g} to ${MOST_BID:g}/h",
            next_step="bid a price within that range",
            effect=effect,
        )
    return float(price)
