"""The calls of the port: method, path, body, how often each may be sent, and what a refusal left undone."""

from typing import Literal

from pydantic import JsonValue

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import InstanceOrder
from remote_gpu_trainer.domain.offers import OfferQuery
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.vastai.bodies import checked_bid, order_body, search_body
from remote_gpu_trainer.vastai.calls import About, Call, Repeat

MOST_LOG_LINES = 100_000
_KEY_TYPES = ("ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com ", "sk-ecdsa-sha2-")
_UNTOUCHED = "Nothing was changed."


def search_call(query: OfferQuery, allocated_storage_gib: float) -> Call:
    """``POST /api/v0/bundles/``."""
    body = search_body(query, allocated_storage_gib)
    return Call("searching offers", "POST", "/api/v0/bundles/", "search", Repeat.READ, "Nothing was rented.", body=body)


def create_call(order: InstanceOrder) -> Call:
    """``PUT /api/v0/asks/{id}/``."""
    name, path = f"renting offer {order.offer_id}", f"/api/v0/asks/{order.offer_id}/"
    return Call(name, "PUT", path, "create", Repeat.ONCE, "Nothing was rented.", About.OFFER, order_body(order))


def account_call() -> Call:
    """``GET /api/v0/users/current/``."""
    return Call("reading the account", "GET", "/api/v0/users/current/", "user", Repeat.READ, _UNTOUCHED)


def volumes_call() -> Call:
    """``GET /api/v0/volumes/``."""
    return Call("listing volumes", "GET", "/api/v0/volumes/", "volumes", Repeat.READ, _UNTOUCHED)


def ssh_keys_call() -> Call:
    """``GET /api/v0/ssh/``."""
    return Call("listing SSH keys", "GET", "/api/v0/ssh/", "ssh", Repeat.READ, _UNTOUCHED)


def add_ssh_key_call(public_key: str) -> Call:
    """``POST /api/v0/ssh/`` with the content of a key.

    Raises:
        InvalidRequest: it is no one-line OpenSSH public key: a path, or a private key.
    """
    not_done, line = "No key was registered.", public_key.strip()
    if not line.startswith(_KEY_TYPES) or len(line.split()) < 2 or "\n" in line or "\r" in line:
        raise InvalidRequest(
            "this is no one-line OpenSSH public key",
            next_step="give the content of the .pub file, not its path and not the private key",
            effect=not_done,
        )
    body: dict[str, JsonValue] = {"ssh_key": line}
    return Call("registering an SSH key", "POST", "/api/v0/ssh/", "ssh", Repeat.ONCE, not_done, body=body)


def show_call(instance_id: InstanceId) -> Call:
    """``GET /api/v0/instances/{id}/``."""
    path, query = _path(instance_id), {"owner": "me"}
    return Call(
        f"reading instance {instance_id}", "GET", path, "show", Repeat.READ, _UNTOUCHED, About.INSTANCE, None, query
    )


def state_call(instance_id: InstanceId, state: Literal["running", "stopped"]) -> Call:
    """``PUT /api/v0/instances/{id}/`` with a state."""
    verb, not_done = ("starting", "started") if state == "running" else ("stopping", "stopped")
    return _manage(f"{verb} instance {instance_id}", instance_id, {"state": state}, f"The instance was not {not_done}.")


def label_call(instance_id: InstanceId, label: str) -> Call:
    """``PUT /api/v0/instances/{id}/`` with a label."""
    return _manage(f"labelling instance {instance_id}", instance_id, {"label": label}, "The label was not changed.")


def _manage(name: str, instance_id: InstanceId, body: dict[str, JsonValue], not_done: str) -> Call:
    return Call(name, "PUT", _path(instance_id), "manage", Repeat.IDEMPOTENT, not_done, About.INSTANCE, body)


def bid_call(instance_id: InstanceId, price: float) -> Call:
    """``PUT /api/v0/instances/bid_price/{id}/``, USD per hour for the whole instance.

    Raises:
        InvalidRequest: the price is outside what the platform takes.
    """
    name, not_done = f"changing the bid of instance {instance_id}", "The bid was not changed."
    body: dict[str, JsonValue] = {"client_id": "me", "price": checked_bid(price, not_done)}
    return Call(name, "PUT", _path(instance_id, "bid_price/"), "bid", Repeat.ONCE, not_done, About.INSTANCE, body)


def reboot_call(instance_id: InstanceId) -> Call:
    """``PUT /api/v0/instances/reboot/{id}/``."""
    name, not_done = f"rebooting instance {instance_id}", "The instance was not rebooted."
    return Call(name, "PUT", _path(instance_id, "reboot/"), "reboot", Repeat.ONCE, not_done, About.INSTANCE, {})


def destroy_call(instance_id: InstanceId) -> Call:
    """``DELETE /api/v0/instances/{id}/``."""
    name, not_done = f"destroying instance {instance_id}", "The instance was not destroyed."
    return Call(name, "DELETE", _path(instance_id), "destroy", Repeat.ONCE, not_done, About.INSTANCE, {})


def logs_call(instance_id: InstanceId, *, tail: int, daemon: bool) -> Call:
    """``PUT /api/v0/instances/request_logs/{id}/``; the platform takes both values as text."""
    body: dict[str, JsonValue] = {"tail": str(max(1, min(tail, MOST_LOG_LINES)))}
    if daemon:
        body["daemon_logs"] = "true"
    name, path = f"asking for the log of instance {instance_id}", _path(instance_id, "request_logs/")
    return Call(name, "PUT", path, "logs", Repeat.READ, "Nothing was read.", About.INSTANCE, body)


def _path(instance_id: InstanceId, verb: str = "") -> str:
    return f"/api/v0/instances/{verb}{int(instance_id)}/"
