"""The classic troubles of the platform, VAST1 to VAST13, as scenes: an offer, an order, what the platform then does.

``stage`` makes a machine on which the trouble comes true and says what to rent; ``strike`` plays the platform's part on
the instance that was rented. All else is the renter's: see the sections of the same names in ``profiles/vastai.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from remote_gpu_trainer.emulator import puppet
from remote_gpu_trainer.emulator.book import DAY_S, Offer
from remote_gpu_trainer.emulator.contracts import Contract
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.puppet import Impossible

Body = dict[str, Any]
SMALL = "ubuntu:22.04"
DIRECT = "ssh_direc ssh_proxy"


@dataclass(frozen=True)
class Scenario:
    """One trouble. ``machine`` are figures set on the offer's machine, ``order`` the create call that meets it.

    ``acts`` are verbs of the control surface with their bodies, done to the instance by a strike; ``wait_s`` is the
    emulated time that passes after them.
    """

    id: str
    name: str
    symptom: str
    order: Mapping[str, Any] = field(default_factory=dict[str, Any])
    machine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bid_factor: float | None = None
    """Rent by bid, at so many times the least bid; None rents on demand."""
    acts: tuple[tuple[str, Body], ...] = ()
    wait_s: float = 0.0


ALL = (
    Scenario(
        "VAST1",
        "stop-taken-for-meter-off",
        "The stopped instance bills its disk for sixty days: $60 for nothing, and on below a balance of zero.",
        {"image": SMALL, "disk": 200, "runtype": DIRECT},
        {"storage_cost": 0.15},
        wait_s=60 * DAY_S,
    ),
    Scenario(
        "VAST2",
        "destroyed-before-proven-copy",
        "After destroy the checkpoint is gone: no SSH, no show, no log, no copy.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT},
    ),
    Scenario(
        "VAST3",
        "own-gpu-awaited",
        "Stopped and started again it stays in scheduling: its own GPU is rented, others of the machine are free.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT},
        acts=(("rerent-gpu", {}),),
    ),
    Scenario(
        "VAST4",
        "preemption-notice-expected",
        "Out-bid, it ends at once and without SIGTERM; the disk stays.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT},
        bid_factor=1.5,
        acts=(("preempt", {}),),
    ),
    Scenario(
        "VAST5",
        "image-cuda-newer-than-driver",
        "The container never starts: the daemon asks for a newer driver.",
        {"image": "pytorch/pytorch:2.7.0-cuda12.8-cudnn9-runtime", "disk": 40, "runtype": DIRECT},
        {"cuda_max_good": 12.4, "driver_version": "550.127.05"},
        wait_s=1800.0,
    ),
    Scenario(
        "VAST6",
        "internal-port-dialled",
        "The service's own port is another one outside, and another one for the next instance.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT, "env": {"-p 8081:8081": "1"}},
    ),
    Scenario(
        "VAST7",
        "unvetted-host-trusted",
        "The instance turns offline in the middle of a run; SSH is dead, and what it made is out of reach.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT},
        {"verification": "unverified", "reliability": 0.91},
        acts=(("vanish", {}),),
    ),
    Scenario(
        "VAST8",
        "bulk-copy-through-proxy",
        "Only the proxy answers, and a copy through it hangs after some megabytes.",
        {"image": SMALL, "disk": 20, "runtype": "ssh_proxy"},
        {"direct_port_count": 0},
        acts=(("line-fault", {"kind": "stall", "line": "proxy", "bytes": 3_000_000, "count": 1_000}),),
    ),
    Scenario(
        "VAST9",
        "bandwidth-taken-for-free",
        "Every byte is billed at the host's price, both ways, stopped included.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT},
        {"inet_up_cost": 0.05, "inet_down_cost": 0.05},
    ),
    Scenario(
        "VAST10",
        "disk-sized-without-checkpoints",
        "No space is left on the device, and the disk cannot be made larger.",
        {"image": SMALL, "disk": 10, "runtype": DIRECT},
        acts=(("fill-disk", {}),),
    ),
    Scenario(
        "VAST11",
        "secret-in-image-or-onstart",
        "What the onstart text says is read back by whoever asks the API, or the host's disk.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT, "onstart": "export HF_TOKEN=hf_not_a_real_one\n"},
    ),
    Scenario(
        "VAST12",
        "volume-expected-to-travel",
        "The volume cannot be attached on another machine.",
        {"image": SMALL, "disk": 20, "runtype": DIRECT},
    ),
    Scenario(
        "VAST13",
        "loading-awaited-blindly",
        "It loads for half an hour: a fat image over a slow link; the daemon's log shows how far.",
        {"image": "acme/fat-22gb:1", "disk": 60, "runtype": DIRECT},
        {"inet_down": 100.0},
        wait_s=1200.0,
    ),
)
BY_ID = {scenario.id: scenario for scenario in ALL}


def find(ident: str) -> Scenario:
    """A scenario by its id. Raises Impossible."""
    if ident not in BY_ID:
        raise Impossible(f"unknown scenario {ident!r}; known: {', '.join(BY_ID)}")
    return BY_ID[ident]


def stage(engine: Engine, scenario: Scenario) -> Body:
    """Make a machine on which it comes true; gives the offer to rent and the body of the create call.

    Raises Impossible when nothing fits any more.
    """
    world = engine.world
    offer = _offer(engine)
    puppet.set_machine(engine, offer.machine.id, dict(scenario.machine))
    order: Body = {"client_id": "me", **scenario.order}
    if scenario.bid_factor is not None:
        least = world.floor.least_bid(offer.machine, offer.num_gpus, world.live)
        order["price"] = round((least or offer.machine.floor_per_gpu) * scenario.bid_factor, 4)
    return {
        "scenario": scenario.id,
        "symptom": scenario.symptom,
        "offer": offer.id,
        "machine_id": offer.machine.id,
        "order": order,
    }


def _offer(engine: Engine) -> Offer:
    """One GPU of the biggest machine with all GPUs free, so that others of it are for rent beside."""
    world = engine.world
    free = [
        offer
        for offer in world.book.offers.values()
        if offer.num_gpus == 1
        and offer.machine.online
        and offer.machine.num_gpus > 1
        and offer.machine.disk_space >= 200
        and offer.machine.listed_until > world.now + 61 * DAY_S
        and world.floor.pick_gpus(offer.machine, offer.machine.num_gpus, None, world.live) is not None
    ]
    if not free:
        raise Impossible("no machine with several GPUs is free for two months: start with more --offers")
    return max(free, key=lambda offer: (offer.machine.direct_port_count > 0, offer.machine.num_gpus, -offer.id))


async def strike(engine: Engine, scenario: Scenario, contract: Contract) -> Body:
    """Do to an instance what the platform does in this scene, and let its time pass. Raises Impossible."""
    done: Body = {}
    for verb, body in scenario.acts:
        done[verb] = await puppet.act(engine, contract, verb, body)
    if scenario.wait_s:
        await engine.advance(scenario.wait_s)
    return {"scenario": scenario.id, "symptom": scenario.symptom, "done": done}
