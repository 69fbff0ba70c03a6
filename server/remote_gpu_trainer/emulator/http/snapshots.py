"""Exact views of the emulator's state, for the control surface."""

from typing import Any

from remote_gpu_trainer.emulator.contracts import Contract, Phase, status_of
from remote_gpu_trainer.emulator.meter import KINDS, burn_rate
from remote_gpu_trainer.emulator.money import usd
from remote_gpu_trainer.emulator.world import World


def contract_view(world: World, contract: Contract) -> dict[str, Any]:
    """One contract: all fields, its status words, its box, its cost."""
    if contract.phase is not Phase.DESTROYED:
        world.count_bytes([contract])
        world.meter.accrue(contract, world.now)
    box = world.fleet.get(contract.id)
    status = status_of(contract, clean_stop_is_exited=world.quirks.on("stop-is-exited"))
    about_box = None
    if box is not None:
        about_box = {
            "running": box.running,
            "direct_port": box.direct_port,
            "proxy_port": box.proxy_port,
            "bytes_sent": box.bytes_sent,
            "bytes_received": box.bytes_received,
            "isolation": box.isolation_in_force,
        }
    order = vars(world.box_order(contract))
    order |= {"root": str(order["root"]), "mounts": [[str(folder), place] for folder, place in order["mounts"]]}
    return contract.to_json() | {
        "status": status.__dict__,
        "box": about_box,
        "order": order,
        "cost": cost_view(world, contract.id),
        "burn_usd_per_hour": usd(burn_rate(contract)),
    }


def cost_view(world: World, contract_id: int) -> dict[str, Any]:
    """What one contract or volume has cost: ``*_pico`` in picodollars, ``*_s`` in seconds, ``*_bytes`` in bytes."""
    ledger = world.meter.ledger(contract_id)
    view: dict[str, Any] = {f"{kind}_pico": ledger.total(kind) for kind in KINDS}
    quantities = {"gpu_s": "gpu", "disk_s": "disk", "received_bytes": "bwd", "sent_bytes": "bwu"}
    view |= {name: ledger.quantity(kind) for name, kind in quantities.items()}
    return view | {"total_pico": ledger.total(), "total_usd": usd(ledger.total())}


def meter_view(world: World) -> dict[str, Any]:
    """The whole meter and what it burns now."""
    balance = world.balance()
    return {
        "now": world.now,
        "balance_pico": balance,
        "balance_usd": usd(balance),
        "total_pico": world.meter.total(),
        "total_usd": usd(world.meter.total()),
        "burn_usd_per_hour": usd(world.burn()),
        "contracts": {
            str(number): {"kind": ledger.kind} | cost_view(world, number)
            for number, ledger in world.meter.ledgers.items()
        },
    }


def state_view(world: World) -> dict[str, Any]:
    """Everything at a glance."""
    return {
        "now": world.now,
        "speed": world.clock.speed,
        "seed": world.seed,
        "account_id": world.account.id,
        "meter": meter_view(world),
        "instances": [contract_view(world, c) for c in world.contracts.values()],
        "volumes": [v.to_json() for v in world.volumes.values()],
        "strangers": [s.to_json() for s in world.floor.strangers.values()],
        "offline_machines": [m.id for m in world.book.machines.values() if not m.online],
        "quirks": world.quirks.state,
        "faults": [fault.__dict__ for fault in world.faults.armed],
        "events": [event.__dict__ for event in world.events],
    }
