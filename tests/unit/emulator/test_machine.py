"""Any life of any contracts: the meter never runs back, a stopped GPU costs nothing, no GPU runs two contracts."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from remote_gpu_trainer.emulator.book import Offer
from remote_gpu_trainer.emulator.boxes import NullBox
from remote_gpu_trainer.emulator.contracts import GPU_BILLED, HOLDS_GPU, Contract, Phase, status_of
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.world import Setup, World

SHARE = st.floats(0.3, 3.0)


class Market(RuleBasedStateMachine):
    """One account on a small market, with strangers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(Setup(self.folder, 5, 0.0, 1.7e9, offers=8), NullBox)
        self.engine = Engine(self.world)
        self.life = self.engine.life
        self.last = 0
        self.gpu: dict[int, tuple[int, int, bool]] = {}
        self.spare = [offer for offer in self.world.book.offers.values() if offer.num_gpus <= 2][:4]

    def teardown(self) -> None:
        self.loop.run_until_complete(self.engine.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def contracts(self, *phases: Phase) -> list[Contract]:
        return [c for c in self.world.live if not phases or c.phase in phases]

    def rent(self, offer: Offer, price: float | None) -> None:
        machine, size, world = offer.machine, offer.num_gpus, self.world
        gpus = world.floor.pick_gpus(machine, size, price / size if price else None, world.live)
        if gpus is None or not machine.online:
            return
        world.next_contract += 1
        contract = Contract(
            id=world.next_contract,
            ask_id=offer.id,
            machine_id=machine.id,
            host_id=machine.host_id,
            owner_id=world.account.id,
            gpu_ids=gpus,
            image="ubuntu:22.04",
            runtype="ssh_proxy",
            disk_gb=10.0,
            dph_base=price or machine.price_per_gpu * size,
            is_bid=price is not None,
            storage_cost=machine.storage_cost,
            inet_up_cost=0.01,
            inet_down_cost=0.01,
            start_date=world.now,
            end_date=machine.listed_until,
            accrued_to=world.now,
        )
        world.contracts[contract.id] = contract

        async def accept() -> None:
            self.life.accept(contract)
            self.life.resolve(machine.id)
            await world.fleet.settled()

        self.loop.run_until_complete(accept())

    def later(self, work: str, contract: Contract) -> None:
        async def change() -> None:
            getattr(self.life, work)(contract)
            await self.world.fleet.settled()

        self.loop.run_until_complete(change())

    @rule(which=st.integers(0, 3), share=st.none() | SHARE)
    def a_rental(self, which: int, share: float | None) -> None:
        offer = self.spare[which % len(self.spare)]
        floor = offer.machine.floor_per_gpu * offer.num_gpus
        self.rent(offer, None if share is None else floor * max(1.0, share))

    @rule(seconds=st.floats(0, 40_000))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self.engine.advance(seconds))

    @precondition(lambda self: self.world.live)
    @rule(data=st.data(), work=st.sampled_from(["wish_stopped", "wish_running", "destroy"]))
    def a_wish(self, data: st.DataObject, work: str) -> None:
        self.later(work, data.draw(st.sampled_from(self.contracts())))

    @precondition(lambda self: self.contracts(Phase.RUNNING))
    @rule(data=st.data())
    def a_reboot(self, data: st.DataObject) -> None:
        self.later("reboot", data.draw(st.sampled_from(self.contracts(Phase.RUNNING))))

    @rule(which=st.integers(0, 3), share=st.none() | SHARE, hours=st.floats(0.1, 20))
    def a_stranger_comes(self, which: int, share: float | None, hours: float) -> None:
        machine, world = self.spare[which % len(self.spare)].machine, self.world
        price = None if share is None else machine.floor_per_gpu * share
        gpus = world.floor.pick_gpus(machine, 1, price, world.live)
        if gpus is None:
            return

        async def seat() -> None:
            world.floor.seat(machine.id, gpus, price, world.now, world.now + hours * 3600)
            self.life.resolve(machine.id)
            await world.fleet.settled()

        self.loop.run_until_complete(seat())

    @rule(which=st.integers(0, 3))
    def a_host_goes_or_returns(self, which: int) -> None:
        machine = self.spare[which % len(self.spare)].machine

        async def change() -> None:
            (self.life.vanish if machine.online else self.life.come_back)(machine)
            await self.world.fleet.settled()

        self.loop.run_until_complete(change())

    @rule(amount=st.integers(0, 10**12))
    def bytes_move(self, amount: int) -> None:
        for contract in self.contracts(Phase.RUNNING):
            self.world.bytes_passed(contract.id, amount, amount // 2)

    @invariant()
    def the_meter_never_runs_back(self) -> None:
        self.world.balance()
        total = self.world.meter.total()
        assert total >= self.last
        self.last = total

    @invariant()
    def a_contract_whose_box_did_not_run_costs_no_gpu(self) -> None:
        for contract in self.world.contracts.values():
            box, spent = self.world.fleet.get(contract.id), self.world.meter.ledger(contract.id).total("gpu")
            starts = box.starts if isinstance(box, NullBox) else -1
            up = (box is not None and box.running) or contract.phase is Phase.REBOOTING
            cost, starts_then, up_then = self.gpu.get(contract.id, (0, starts, False))
            if starts == starts_then and not up and not up_then:
                assert spent == cost
            self.gpu[contract.id] = (spent, starts, up)

    @invariant()
    def no_gpu_runs_two_contracts(self) -> None:
        held: set[tuple[int, int]] = set()
        for contract in self.contracts(*GPU_BILLED):
            mine = {(contract.machine_id, gpu) for gpu in contract.gpu_ids}
            assert held.isdisjoint(mine)
            held |= mine
        for stranger in self.world.floor.strangers.values():
            if stranger.price_per_gpu is None:
                seats = {(stranger.machine_id, gpu) for gpu in stranger.gpu_ids}
                for contract in self.contracts(*HOLDS_GPU):
                    own = {(contract.machine_id, gpu) for gpu in contract.gpu_ids}
                    assert not (contract.is_bid and seats & own)

    @invariant()
    def boxes_run_exactly_when_contracts_do(self) -> None:
        for contract in self.world.live:
            box = self.world.fleet.get(contract.id)
            assert (box is not None and box.running) == (contract.phase is Phase.RUNNING)

    @invariant()
    def every_phase_has_words(self) -> None:
        for contract in self.world.contracts.values():
            words = status_of(contract)
            assert words.intended in ("running", "stopped")
            assert (words.actual == "running") == (contract.phase is Phase.RUNNING)


Market.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
TestMarket = Market.TestCase
