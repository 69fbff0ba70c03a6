"""Renting: one ask by its id, or several at once."""

import secrets

from remote_gpu_trainer.emulator.book import Offer
from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Json, Refusal, as_list, refusal
from remote_gpu_trainer.emulator.http.orders import Order, read_order
from remote_gpu_trainer.emulator.http.volumes import attached
from remote_gpu_trainer.emulator.money import usd
from remote_gpu_trainer.emulator.volumes import Volume

READS_LAG_S = 1.5
CREATE_S = 4.5


def create(call: Call) -> Answer:
    """``PUT /api/v0/asks/{id}/``."""
    ask_id = call.number("id")
    return Answer(_rent(call, ask_id, read_order(call)))


def create_many(call: Call) -> Answer:
    """``POST /api/v0/asks/bulk/``: the same order for each of ``ids``; what fails is told beside what was rented."""
    ids, order = as_list(call.body.get("ids")), read_order(call)
    if not ids:
        raise refusal(400, "invalid_args", "error 400/3467: Invalid args: 'ids' is required")
    rented: list[int] = []
    errors: list[Json] = []
    for ask_id in ids:
        if not isinstance(ask_id, int):
            raise refusal(400, "invalid_args", "error 400/3467: Invalid args: ids must be integers")
        try:
            rented.append(_rent(call, ask_id, order)["new_contract"])
        except Refusal as refused:
            errors.append({"ask_id": ask_id} | (refused.answer.body or {}))
    return Answer({"success": not errors, "new_contracts": rented, "errors": errors})


def _rent(call: Call, ask_id: int, order: Order) -> Json:
    world = call.world
    offer = world.book.offers.get(ask_id)
    if offer is None or not offer.machine.online or offer.machine.listed_until <= world.now:
        raise refusal(
            404,
            "no_such_ask",
            f"error 404/3603: no_such_ask Instance type by id {ask_id} is not available.",
            ask_id=ask_id,
        )
    if world.balance() <= 0:
        raise refusal(
            400,
            "insufficient_credit",
            f"error 400/3601: Your account has insufficient credit: ${usd(world.balance()):.2f}.",
            ask_id=ask_id,
        )
    if order.disk_gb > offer.machine.disk_space:
        raise refusal(
            400,
            "invalid_args",
            f"error 400/3470: Invalid args: disk {order.disk_gb} exceeds {offer.machine.disk_space} GB",
            ask_id=ask_id,
        )
    if call.fault == "phantom":
        world.next_contract += 1
        return {"success": True, "new_contract": world.next_contract}
    size = offer.num_gpus
    gpus = world.floor.pick_gpus(
        offer.machine, size, order.price / size if order.price is not None else None, world.live
    )
    too_low = order.price is not None and order.price < offer.machine.floor_per_gpu * size
    if gpus is None or too_low:
        return _unavailable(call, offer, order, low_bid=order.price is not None)
    contract = _draw_up(call, offer, order, gpus, attached(call, offer.machine.id, order.volume))
    if call.fault == "dud":
        contract.phase = Phase.DUD
    elif order.target_state == "stopped":
        contract.phase, contract.intended, contract.cause = Phase.STOPPED, "stopped", "user"
    else:
        call.life.accept(contract)
    call.life.resolve(contract.machine_id)
    world.touch(contract)
    return _accepted(call, contract)


def _unavailable(call: Call, offer: Offer, order: Order, *, low_bid: bool) -> Json:
    """The GPUs are held by stronger claims: an error, or by a quirk a stopped instance that bills."""
    gone = refusal(
        410,
        "no_such_ask",
        f"error 410/3907: no_such_ask Instance type {offer.id} is no longer available.",
        ask_id=offer.id,
    )
    quirk = "refused-create-bills" if low_bid else "silent-unavailable"
    least = call.world.floor.least_bid(offer.machine, offer.num_gpus, call.world.live)
    low = f"error 400/3488: Invalid price: bid {order.price} is below the current minimum {least}."
    if order.cancel_unavail or not call.world.quirks.on(quirk):
        raise refusal(400, "invalid_price", low, ask_id=offer.id) if low_bid and not order.cancel_unavail else gone
    contract = _draw_up(call, offer, order, list(range(offer.num_gpus)))
    contract.phase, contract.cause, contract.waiting_since = (
        Phase.WAITING,
        "outbid" if low_bid else "rented",
        call.world.now,
    )
    call.world.touch(contract)
    if low_bid:
        contract.phase, contract.intended = Phase.STOPPED, "stopped"
        call.world.save()
        raise refusal(400, "invalid_price", low, ask_id=offer.id, new_contract=contract.id)
    return _accepted(call, contract)


def _draw_up(call: Call, offer: Offer, order: Order, gpus: list[int], volume: Volume | None = None) -> Contract:
    world, machine = call.world, offer.machine
    world.next_contract += 1
    image = order.image if "@" in order.image or ":" in order.image.rsplit("/", 1)[-1] else f"{order.image}:latest"
    contract = Contract(
        id=world.next_contract,
        ask_id=offer.id,
        machine_id=machine.id,
        host_id=machine.host_id,
        owner_id=world.account.id,
        gpu_ids=gpus,
        image=image,
        runtype=order.runtype,
        disk_gb=order.disk_gb,
        dph_base=round(machine.price_per_gpu * offer.num_gpus, 6) if order.price is None else order.price,
        is_bid=order.price is not None,
        storage_cost=machine.storage_cost,
        inet_up_cost=machine.inet_up_cost,
        inet_down_cost=machine.inet_down_cost,
        start_date=world.now,
        end_date=machine.listed_until,
        env=order.env,
        onstart=order.onstart,
        args=order.args,
        label=order.label,
        template_id=order.template["id"] if order.template else None,
        template_hash_id=order.template["hash_id"] if order.template else None,
        template_name=order.template["name"] if order.template else None,
        jupyter_token=secrets.token_hex(32),
        instance_api_key=secrets.token_hex(32),
        ssh_idx=str(1 + world.next_contract % 9),
        ssh_keys=[
            {"id": k["id"], "name": f"key-{k['id']}", "public_key": k["public_key"]}
            for k in world.account.live_ssh_keys
        ],
        visible_from=world.now + (READS_LAG_S if world.quirks.on("reads-lag") else 0.0),
        accrued_to=world.now,
    )
    world.contracts[contract.id] = contract
    if volume is not None:
        volume.instances.append(contract.id)
        contract.volumes.append(volume.held_at(order.mount_path))
    call.engine.publisher.publish(contract)
    world.fleet.place(world.box_order(contract))
    world.note("rented", contract)
    return contract


def _accepted(call: Call, contract: Contract) -> Json:
    leaked = {"instance_api_key": contract.instance_api_key} if call.world.quirks.on("create-leaks-key") else {}
    return {"success": True, "new_contract": contract.id} | leaked


ROUTES = [
    Endpoint("POST", "/api/v0/asks/bulk", create_many, CREATE_S, "instance_write", "api.instance.create"),
    Endpoint("PUT", "/api/v0/asks/{id}", create, CREATE_S, "instance_write", "api.instance.create"),
]
