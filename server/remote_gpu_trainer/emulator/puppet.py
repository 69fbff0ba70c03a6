"""What the control surface does to the world: preempt, re-rent, take hosts away, spoil disks, set accounts."""

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.linefaults import LineFault
from remote_gpu_trainer.emulator.money import pico, usd
from remote_gpu_trainer.emulator.world import World

Body = dict[str, Any]


SSH = "SSH "
"""What a fault's ``route`` starts with when it means connections to boxes: ``SSH ID``, or ``SSH *`` for all."""


class Impossible(Exception):
    """The state does not allow it; the text says why."""


def find(world: World, contract_id: int) -> Contract:
    """A contract by id. Raises Impossible."""
    if contract_id not in world.contracts:
        raise Impossible(f"there is no instance {contract_id}")
    return world.contracts[contract_id]


async def act(engine: Engine, contract: Contract, verb: str, body: Body) -> Body:
    """Do ``verb`` to an instance. Raises Impossible."""
    if verb not in VERBS:
        raise Impossible(f"unknown verb {verb!r}; known: {', '.join(VERBS)}")
    return await VERBS[verb](engine, contract, body)


async def _preempt(engine: Engine, contract: Contract, body: Body) -> Body:
    """Another bidder takes its GPUs, ``over_usd`` above its bid, for ``for_s`` emulated seconds or until restored."""
    if not contract.is_bid:
        raise Impossible("an on-demand instance is never out-bid")
    price = contract.price_per_gpu + float(body.get("over_usd", 0.01))
    stranger = _seat_on(engine, contract, price, body)
    return {"stranger": stranger}


async def _rerent(engine: Engine, contract: Contract, body: Body) -> Body:
    """Somebody rents its GPUs on demand, for ``for_s`` emulated seconds or until restored."""
    if not contract.is_bid and contract.phase not in (Phase.STOPPED, Phase.EXITED, Phase.OFFLINE):
        raise Impossible(f"instance {contract.id} is {contract.phase} on demand and keeps its GPUs: stop it first")
    return {"stranger": _seat_on(engine, contract, None, body)}


def _seat_on(engine: Engine, contract: Contract, price: float | None, body: Body) -> int:
    now, lasts = engine.world.now, body.get("for_s")
    stranger = engine.world.floor.seat(
        contract.machine_id, list(contract.gpu_ids), price, now, None if lasts is None else now + float(lasts)
    )
    engine.life.resolve(contract.machine_id)
    return stranger.id


async def _restore(engine: Engine, contract: Contract, body: Body) -> Body:
    """Everybody else leaves its GPUs; what waits for them starts."""
    for stranger in list(engine.world.floor.strangers.values()):
        if stranger.machine_id == contract.machine_id and set(stranger.gpu_ids) & set(contract.gpu_ids):
            del engine.world.floor.strangers[stranger.id]
    engine.life.resolve(contract.machine_id)
    return {}


async def _vanish(engine: Engine, contract: Contract, body: Body) -> Body:
    """Its host drops off the network."""
    engine.life.vanish(engine.world.machine_of(contract))
    return {}


async def _return(engine: Engine, contract: Contract, body: Body) -> Body:
    """Its host comes back."""
    engine.life.come_back(engine.world.machine_of(contract))
    return {}


async def _exit(engine: Engine, contract: Contract, body: Body) -> Body:
    """Its container ends by itself."""
    if contract.phase is not Phase.RUNNING:
        raise Impossible(f"instance {contract.id} is {contract.phase}, not running")
    engine.life.halt(contract, "exited", Phase.EXITED)
    return {}


async def _expire(engine: Engine, contract: Contract, body: Body) -> Body:
    """Its end date is now."""
    contract.end_date = engine.world.now
    engine.settle()
    return {}


def _workspace(engine: Engine, contract: Contract) -> Path:
    return engine.world.box_order(contract).root / "workspace"


async def _fill_disk(engine: Engine, contract: Contract, body: Body) -> Body:
    """Leave only ``leave_bytes`` (default 0) of its disk free, by a sparse file ``/workspace/.filled``."""
    box, workspace = engine.world.fleet.get(contract.id), _workspace(engine, contract)
    if box is None or not workspace.is_dir():
        raise Impossible(f"instance {contract.id} has no disk yet")
    free = engine.world.box_order(contract).disk_bytes - box.disk_used_bytes - int(body.get("leave_bytes", 0))
    with (workspace / ".filled").open("wb") as filler:
        filler.truncate(max(0, free))
    box.disk_grew(max(0, free))
    return {"filled_bytes": max(0, free)}


async def _corrupt(engine: Engine, contract: Contract, body: Body) -> Body:
    """Flip one byte of the file ``path`` below ``/workspace``, keeping its size and time."""
    workspace = _workspace(engine, contract)
    path = (workspace / str(body["path"]).removeprefix("/workspace/")).resolve()
    if not path.is_relative_to(workspace.resolve()) or not path.is_file() or path.stat().st_size == 0:
        raise Impossible(f"no such file with content below /workspace: {body['path']}")
    stat, data = path.stat(), bytearray(path.read_bytes())
    at = int(body.get("at", random.Random(len(data)).randrange(len(data))))  # noqa: S311  # reproducible damage
    data[at] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return {"corrupted_at": at}


async def _box_faults(engine: Engine, contract: Contract, body: Body) -> Body:
    """Set fields of the box's own faults (SSH cuts, stalls, changed host key)."""
    box = engine.world.fleet.get(contract.id)
    if box is None:
        raise Impossible(f"instance {contract.id} has no box")
    for name, value in body.items():
        if not hasattr(box.faults, name):
            raise Impossible(f"the box knows no fault {name!r}")
        setattr(box.faults, name, value)
    return {"box_faults": {**vars(box.faults)}}


async def _line_fault(engine: Engine, contract: Contract, body: Body) -> Body:
    """Arm a fault on connections to it, as ``POST /faults`` with the route ``SSH ID`` does."""
    arm_line(engine.world, {"route": f"{SSH}{contract.id}", **body})
    return {}


Verb = Callable[[Engine, Contract, Body], Awaitable[Body]]
VERBS: dict[str, Verb] = {
    "preempt": _preempt,
    "rerent-gpu": _rerent,
    "restore": _restore,
    "vanish": _vanish,
    "return": _return,
    "exit": _exit,
    "expire": _expire,
    "fill-disk": _fill_disk,
    "corrupt": _corrupt,
    "box-faults": _box_faults,
    "line-fault": _line_fault,
}


def arm_line(world: World, body: Body) -> None:
    """Arm a fault over SSH on the box of one instance, or on each box there is now. Raises Impossible, ValueError."""
    wanted = str(body["route"]).removeprefix(SSH).strip()
    boxes = world.fleet.snapshot()
    chosen = list(boxes.values()) if wanted == "*" else [box for i, box in boxes.items() if str(i) == wanted]
    if not chosen:
        raise Impossible(f"there is no box {wanted}: a fault over SSH needs an instance, or * for all there are")
    fields: Body = {name: body[name] for name in ("kind", "count", "after", "bytes", "delay_s", "line") if name in body}
    for box in chosen:
        box.line_faults.arm(LineFault(**fields))


def lines_armed(world: World) -> list[Body]:
    """All faults over SSH that are armed, each with its route."""
    return [
        {"route": f"{SSH}{number}", **fault}
        for number, box in world.fleet.snapshot().items()
        for fault in box.line_faults.armed()
    ]


def set_account(engine: Engine, body: Body) -> Body:
    """Set what ``body`` names of ``balance_usd``, ``card``, ``tfa``, ``search_quota``."""
    world, account = engine.world, engine.world.account
    if "balance_usd" in body:
        gap = pico(float(body["balance_usd"])) - world.balance()
        account.pay_in(world.now, 0.0).amount = gap
        account.broke_since, account.warned = None, False
    account.card = bool(body.get("card", account.card))
    account.tfa = bool(body.get("tfa", account.tfa))
    if "search_quota" in body:
        account.settings["search_quota"] = int(body["search_quota"])
    engine.settle()
    return {
        "id": account.id,
        "balance_usd": usd(world.balance()),
        "card": account.card,
        "tfa": account.tfa,
        "broke_since": account.broke_since,
    }


def seat(engine: Engine, body: Body) -> None:
    """Seat a stranger on ``gpu_ids`` of ``machine_id``: a bidder at ``price`` USD/h per GPU, or on demand."""
    world, lasts, price = engine.world, body.get("for_s"), body.get("price")
    machine = world.book.machines.get(int(body["machine_id"]))
    if machine is None:
        raise Impossible(f"there is no machine {body['machine_id']}")
    gpus = [int(gpu) for gpu in body.get("gpu_ids", range(machine.num_gpus))]
    until = None if lasts is None else world.now + float(lasts)
    world.floor.seat(machine.id, gpus, None if price is None else float(price), world.now, until)
    engine.life.resolve(machine.id)


def send_away(engine: Engine, stranger_id: int) -> None:
    """A stranger leaves."""
    stranger = engine.world.floor.strangers.pop(stranger_id, None)
    if stranger is None:
        raise Impossible(f"there is no stranger {stranger_id}")
    engine.life.resolve(stranger.machine_id)


SETTABLE = frozenset(
    (
        "price_per_gpu floor_per_gpu storage_cost inet_up_cost inet_down_cost inet_up inet_down reliability "
        "verification direct_port_count cuda_max_good driver_version listed_until disk_space"
    ).split()
)


def set_machine(engine: Engine, machine_id: int, body: Body) -> Body:
    """Change a machine's figures; ``online`` takes the host away or brings it back."""
    machine = engine.world.book.machines.get(machine_id)
    if machine is None:
        raise Impossible(f"there is no machine {machine_id}")
    for name, value in body.items():
        if name == "online":
            (engine.life.come_back if value else engine.life.vanish)(machine)
        elif name in SETTABLE:
            setattr(machine, name, value)
        else:
            raise Impossible(f"a machine's {name!r} cannot be set")
    return {name: getattr(machine, name) for name in (*sorted(SETTABLE), "online", "num_gpus")} | {
        "gpu_name": machine.gpu.name
    }
