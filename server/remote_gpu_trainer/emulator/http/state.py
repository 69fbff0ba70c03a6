"""Changing instances: state, label, bid, reboot, recycle, destroy, one or many."""

from collections.abc import Callable
from typing import Any

from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, as_list, number_in, refusal, text_in

LABEL_MOST = 1_024
BID_LEAST, BID_MOST = 0.001, 32.0
OK: dict[str, Any] = {"success": True}


def manage(call: Call) -> Answer:
    """``PUT /api/v0/instances/{id}/`` with ``state`` or ``label``."""
    contract = call.contract()
    if "label" in call.body:
        call.world.touch(contract)
        contract.label = text_in(call.body, "label", LABEL_MOST) or None
    if "state" in call.body:
        _set_state(call, contract, call.body["state"])
    elif "label" not in call.body:
        raise refusal(400, "invalid_args", "Invalid args: state or label is required")
    return Answer(OK)


def manage_many(call: Call) -> Answer:
    """``PUT /api/v0/instances/`` with ``ids`` and ``state``."""
    for contract in [call.contract(i) for i in _ids(call, "ids")]:
        _set_state(call, contract, call.body.get("state"))
    return Answer(OK)


def _set_state(call: Call, contract: Contract, state: Any) -> None:
    world = call.world
    if state == "stopped":
        call.life.wish_stopped(contract)
    elif state == "running":
        if contract.cause == "expired" or world.now >= contract.end_date:
            raise refusal(
                400, "invalid_args", "The rental end date of this instance was reached; it cannot be started."
            )
        if world.balance() <= 0:
            raise refusal(400, "insufficient_credit", "Your account has insufficient credit to start this instance.")
        call.life.wish_running(contract)
    else:
        raise refusal(400, "invalid_args", f"Invalid state: {state!r}. Must be running or stopped.")


def _ids(call: Call, field: str) -> list[int]:
    ids = as_list(call.body.get(field))
    if not ids or not all(isinstance(i, int) for i in ids):
        raise refusal(400, "invalid_args", f"Invalid args: {field} must be a list of instance ids")
    return ids


def change_bid(call: Call) -> Answer:
    """``PUT /api/v0/instances/bid_price/{id}/``; without a price, a winning one is taken."""
    contract = call.contract()
    if not contract.is_bid:
        raise refusal(400, "invalid_args", "This instance is not interruptible: its price cannot be changed.")
    others = [c for c in call.world.live if c.id != contract.id]
    machine, floor = call.world.machine_of(contract), call.world.floor
    winning = floor.least_bid(machine, contract.num_gpus, others, contract.gpu_ids)
    price = number_in(call.body, "price")
    price = winning if price is None else price
    if price is None or not BID_LEAST <= price <= BID_MOST:
        raise refusal(400, "invalid_args", f"Please set a bid price >= {BID_LEAST}.")
    call.world.touch(contract)
    contract.dph_base = price
    call.life.resolve(contract.machine_id)
    return Answer(OK)


def _on_running(act: Callable[[Call, Contract], None], error: str, msg: str) -> Callable[[Call], Answer]:
    def handler(call: Call) -> Answer:
        contract = call.contract(None, 400, error, msg)
        if contract.phase not in (
            Phase.RUNNING,
            Phase.REBOOTING,
            Phase.BOXING,
            Phase.EXITED,
            Phase.FAILED,
            Phase.PULLING,
        ):
            raise refusal(400, error, "This instance is not running.")
        act(call, contract)
        return Answer(OK)

    return handler


def destroy(call: Call) -> Answer:
    """``DELETE /api/v0/instances/{id}/``; 404 ``no_such_instance`` for a gone or foreign id."""
    call.life.destroy(call.contract())
    return Answer(OK | {"msg": "Instance destroyed successfully"})


def destroy_many(call: Call) -> Answer:
    """``DELETE /api/v0/instances/`` with ``instance_ids``."""
    for contract in [call.contract(i) for i in _ids(call, "instance_ids")]:
        call.life.destroy(contract)
    return Answer(OK)


_reboot = _on_running(lambda call, c: call.life.reboot(c), "invalid_args", "invalid instance_id")
_recycle = _on_running(lambda call, c: call.life.recycle(c), "invalid_id", "Invalid instance id.")

ROUTES = [
    Endpoint("PUT", "/api/v0/instances/bid_price/{id}", change_bid, 5.5, "instance_write", "api.instance.change_bid"),
    Endpoint(
        "PUT",
        "/api/v0/instances/reboot/{id}",
        _reboot,
        1.0,
        "instance_write",
        "api.instance.reboot",
    ),
    Endpoint(
        "PUT",
        "/api/v0/instances/recycle/{id}",
        _recycle,
        1.0,
        "instance_write",
        "api.instance.recycle",
    ),
    Endpoint("PUT", "/api/v0/instances/{id}", manage, 1.0, "instance_write", "api.instance.update"),
    Endpoint("DELETE", "/api/v0/instances/{id}", destroy, 3.0, "instance_write", "api.instance.destroy"),
    Endpoint("PUT", "/api/v0/instances", manage_many, 1.0, "instance_write", "api.instance.update"),
    Endpoint("DELETE", "/api/v0/instances", destroy_many, 3.0, "instance_write", "api.instance.destroy"),
]
