"""Volumes: offers, renting, listing, deleting."""

from dataclasses import replace
from typing import Any

from remote_gpu_trainer.emulator.book import Offer
from remote_gpu_trainer.emulator.filters import BadQuery, as_filters, matches, ordered
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Json, Refusal, number_in, refusal, text_in
from remote_gpu_trainer.emulator.money import HOURS_PER_MONTH
from remote_gpu_trainer.emulator.search import machine_fields, read_order
from remote_gpu_trainer.emulator.volumes import Volume

SIZE_DEFAULT_GB = 15.0


def _ask_rows(call: Call, storage_gb: float) -> list[Json]:
    """One volume ask a machine; its id is that of the machine's smallest GPU ask plus one."""
    rows: list[Json] = []
    for machine in call.world.book.machines.values():
        smallest = call.world.book.offers_of(machine.id)[0]
        row = machine_fields(machine, call.world.now) | {
            "id": smallest.id + 1,
            "ask_contract_id": smallest.id + 1,
            "bundle_id": machine.id * 100,
            "disk_space": round(machine.disk_space * 0.4, 2),
            "reliability": machine.reliability,
            "reliability_mult": machine.reliability,
            "storage_total_cost": machine.storage_cost * storage_gb / HOURS_PER_MONTH,
            "vericode": "1",
            "geolocode": str(machine.id),
            "driver_vers": machine.driver_version,
            "vms_enabled": False,
            "verified": machine.verification == "verified",
            "score": machine.reliability / machine.storage_cost,
        }
        if machine.online:
            rows.append(row)
    return rows


def search(call: Call) -> Answer:
    """``POST /api/v0/volumes/search/``."""
    query: dict[str, Any] = dict(call.body)
    order, limit, storage = query.pop("order", None), query.pop("limit", 64), query.pop("allocated_storage", 1.0)
    try:
        rows = _ask_rows(call, float(storage))
        known = frozenset(rows[0]) if rows else frozenset[str]()
        found = [row for row in rows if matches(row, as_filters(query), known)]
        found = ordered(found, read_order(order), known)[: max(0, int(limit))]
    except (BadQuery, TypeError, ValueError) as bad:
        raise Refusal(Answer({"success": False, "error": "invalid_request", "msg": str(bad)}, 400)) from None
    return Answer({"offers": [{k: v for k, v in row.items() if k != "verified"} for row in found]})


def _ask(call: Call, ask_id: int) -> Offer | None:
    return call.world.book.offers.get(ask_id - 1)


def rent(call: Call) -> Answer:
    """``PUT /api/v0/volumes/``; the file knows no other status than 200, so a refusal is one with success false."""
    try:
        size = number_in(call.body, "size")
        volume = rent_volume(
            call,
            int(number_in(call.body, "id") or 0),
            SIZE_DEFAULT_GB if size is None else size,
            text_in(call.body, "name", 256),
        )
    except Refusal as refused:
        return replace(refused.answer, status=200)
    return Answer({"success": True, "volume_name": f"V.{volume.id}", "new_contract": volume.id})


def rent_volume(call: Call, ask_id: int, size_gb: float, name: str | None) -> Volume:
    """Rent a volume ask. Raises Refusal."""
    world, offer = call.world, _ask(call, ask_id)
    if offer is None or not offer.machine.online:
        raise refusal(400, "invalid_args", f"No such volume ask: {ask_id}")
    if not 0 < size_gb <= offer.machine.disk_space * 0.4:
        raise refusal(400, "invalid_args", f"Invalid size: {size_gb} GB")
    world.next_contract += 1
    number = world.next_contract
    volume = Volume(
        number,
        offer.machine.id,
        ask_id,
        name or f"V.{number}",
        size_gb,
        offer.machine.storage_cost,
        world.now,
        offer.machine.listed_until,
        world.now,
    )
    world.add_volume(volume)
    return volume


def attached(call: Call, machine_id: int, wish: Json | None) -> Volume | None:
    """The volume that a create call wants, new or old: it never leaves its machine. Raises Refusal."""
    if wish is None:
        return None
    number = int(number_in(wish, "volume_id") or 0)
    volume, ask = call.world.volumes.get(number), _ask(call, number)
    home = ask.machine.id if wish.get("create_new") and ask else volume.machine_id if volume else None
    if home is None or (volume is not None and volume.deleted_at is not None):
        raise refusal(400, "invalid_args", f"error 400/3477: Invalid args: no such volume {number}")
    if home != machine_id:
        raise refusal(
            400, "invalid_args", f"error 400/3478: Invalid args: volume {number} is on machine {home}, not {machine_id}"
        )
    if not wish.get("create_new"):
        return volume
    size = number_in(wish, "size")
    return rent_volume(call, number, SIZE_DEFAULT_GB if size is None else size, text_in(wish, "name", 256))


def show(call: Call) -> Answer:
    """``GET /api/v0/volumes``."""
    rows: list[Json] = []
    for volume in call.world.open_volumes:
        machine = call.world.book.machines[volume.machine_id]
        rows.append(
            machine_fields(machine, call.world.now)
            | {
                "id": volume.id,
                "label": volume.name,
                "disk_space": volume.disk_gb,
                "start_date": volume.start_date,
                "end_date": volume.end_date,
                "storage_total_cost": volume.storage_cost * volume.disk_gb / HOURS_PER_MONTH,
                "instances": [{"id": i} for i in volume.instances],
                "reliability2": machine.reliability,
                "status": "created" if machine.online else "offline",
                "cluster_id": None,
            }
        )
    return Answer({"volumes": rows})


def delete(call: Call) -> Answer:
    """``DELETE /api/v0/volumes/``: refused while an instance uses it."""
    wanted = call.body.get("id", call.query.get("id"))
    try:
        number = int(str(wanted))
    except ValueError:
        raise refusal(400, "invalid_args", "Please provide a valid volume ID.") from None
    volume = call.world.volumes.get(number)
    if volume is None or volume.deleted_at is not None:
        raise refusal(404, "no_such_volume", "Volume with that ID does not exist.")
    if volume.instances:
        raise refusal(400, "invalid_args", f"Volume is in use by instances {volume.instances}: destroy them first.")
    call.world.delete_volume(volume)
    return Answer({"success": True})


ROUTES = [
    Endpoint("POST", "/api/v0/volumes/search", search, 5.5, "misc", "api.search.volumes"),
    Endpoint("PUT", "/api/v0/volumes", rent, 0.0, "instance_write", "api.volume.create"),
    Endpoint("GET", "/api/v0/volumes", show, 5.5, "instance_read", "api.volumes.show"),
    Endpoint("DELETE", "/api/v0/volumes", delete, 5.5, "instance_write", "api.volume.delete"),
]
