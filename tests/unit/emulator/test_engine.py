"""Time that passes by itself: what a read sees without anybody looking at the clock in between."""

import asyncio
from pathlib import Path

from remote_gpu_trainer.emulator.boxes import NullBox
from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.world import Setup, World


def rented(world: World) -> Contract:
    offer = next(iter(world.book.offers.values()))
    contract = Contract(
        id=1,
        ask_id=offer.id,
        machine_id=offer.machine.id,
        host_id=offer.machine.host_id,
        owner_id=world.account.id,
        gpu_ids=[0],
        image="ubuntu:22.04",
        runtype="ssh_proxy",
        disk_gb=10.0,
        dph_base=0.3,
        is_bid=False,
        storage_cost=0.1,
        inet_up_cost=0.0,
        inet_down_cost=0.0,
        start_date=world.now,
        end_date=offer.machine.listed_until,
        accrued_to=world.now,
    )
    world.contracts[contract.id] = contract
    return contract


def test_a_read_sees_what_came_due_since_the_last_change_and_looks_at_nothing_else(tmp_path: Path) -> None:
    async def live() -> None:
        world = World(Setup(tmp_path, 5, 0.0, 1.7e9, offers=8), NullBox)
        engine = Engine(world)  # nobody ticks
        world.quirks.switch("lively-market", False)
        engine.settle()
        contract = rented(world)
        engine.life.accept(contract)
        world.clock.jump_to(world.now + 5)
        engine.settle_to_read()
        assert contract.phase is Phase.PULLING
        engine.settle_to_read()
        contract.due = world.now  # told to nobody, so that looking would show
        engine.settle_to_read()
        assert contract.phase is Phase.PULLING
        world.clock.jump_to(world.now + 120)
        engine.settle_to_read()
        await world.fleet.settled()
        engine.settle_to_read()
        assert contract.phase is not Phase.PULLING
        await engine.close()

    asyncio.run(live())
