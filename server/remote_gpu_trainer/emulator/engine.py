"""What makes time pass: every event of the market, the contracts and the account at its own moment, in order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from remote_gpu_trainer.emulator.contracts import Phase
from remote_gpu_trainer.emulator.lifecycle import Lifecycle
from remote_gpu_trainer.emulator.meter import burn_rate, disk_rate
from remote_gpu_trainer.emulator.money import pico
from remote_gpu_trainer.emulator.ports import Publisher
from remote_gpu_trainer.emulator.transfers import Transfers
from remote_gpu_trainer.emulator.world import World

TICK_S = 0.05
BYTES_EVERY = 10
SAVE_EVERY = 40
DELETION_GRACE_S = 24 * 3600.0
"""How long an account without credit and without a saved card keeps its data."""
WARNING = pico(1.0)
"""Credit below which the platform warns."""


@dataclass(frozen=True)
class Due:
    """Something that happens at a moment."""

    at: float
    act: Callable[[], None]


class Engine:
    """Moves a world forward to its clock."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.life = Lifecycle(world)
        self.transfers = Transfers(world)
        self.publisher = Publisher(world)
        self._tick: asyncio.Task[None] | None = None
        self._looked_at: int = -1
        self._next_at: float | None = None

    def next_due(self) -> Due | None:
        """The earliest thing that will happen by itself."""
        best: Due | None = None
        for contract in self.world.live:
            if contract.due is not None and (best is None or contract.due < best.at):
                best = Due(contract.due, lambda c=contract: self.life.step(c))
            end = self.life.next_end(contract)
            if end is not None and (best is None or end < best.at):
                best = Due(end, lambda c=contract: self.life.end(c))
        market = self.world.floor.next_event()
        if market is not None and (best is None or market < best.at):
            best = Due(market, self.life.market_step)
        hosts = self.world.outages.next_event()
        if hosts is not None and (best is None or hosts < best.at):
            best = Due(hosts, self.life.hosts_step)
        copying = self.transfers.next_event()
        if copying is not None and (best is None or copying < best.at):
            best = Due(copying, self.transfers.step)
        for due in self._account_dues():
            if best is None or due.at < best.at:
                best = due
        return best

    def settle(self) -> None:
        """Do everything that is due by now, each at its own moment."""
        world = self.world
        self._withdraw_ports()
        if None in (world.floor.next_arrival, world.outages.next_fall) and world.quirks.on("lively-market"):
            self.life.market_step()
            self.life.hosts_step()
        target = world.now
        due = self._look()
        if due is None or due.at > target:
            return
        world.clock.hold()
        try:
            while due is not None and due.at <= target:
                world.at(due.at)
                due.act()
                due = self._look()
        finally:
            world.at(None)
            world.clock.release()
        world.save()

    def settle_to_read(self) -> None:
        """As :meth:`settle`, but it looks for what is due only where something changed since the last look.

        Looking costs as much as there are contracts, and most calls of a crowd are reads.
        """
        if self._looked_at == self.world.changes and (self._next_at is None or self._next_at > self.world.now):
            return
        self.settle()

    def _look(self) -> Due | None:
        due = self.next_due()
        self._looked_at, self._next_at = self.world.changes, None if due is None else due.at
        return due

    async def advance(self, seconds: float) -> None:
        """Let emulated time pass at once, with all boots and stops in it. Raises ValueError for a negative time."""
        if seconds < 0:
            raise ValueError("time does not run back")
        clock = self.world.clock
        clock.hold()
        try:
            target = clock.now() + seconds
            while True:
                self.settle()
                await self.world.fleet.settled()
                due = self.next_due()
                if due is None or due.at > target:
                    break
                clock.jump_to(due.at)
            clock.jump_to(target)
            self.settle()
            await self.world.fleet.settled()
        finally:
            clock.release()
        self.world.save()

    def _account_dues(self) -> list[Due]:
        world, account = self.world, self.world.account
        if account.broke_since is not None:
            if account.card:
                return []
            return (
                [Due(account.broke_since + DELETION_GRACE_S, self._delete_all)]
                if world.live or world.open_volumes
                else []
            )
        burning = [(c.accrued_to, burn_rate(c)) for c in world.live]
        burning += [(v.accrued_to, disk_rate(v.storage_cost, v.disk_gb)) for v in world.open_volumes]
        burn = sum(rate for _, rate in burning)
        if burn <= 0:
            return []
        left = account.paid_in - world.meter.total()
        anchor = sum(rate * since for since, rate in burning) / burn
        dues = [Due(anchor + left / burn * 3600, self._run_dry)]
        if not account.warned:
            dues.append(Due(anchor + (left - WARNING) / burn * 3600, self._warn))
        return dues

    def _warn(self) -> None:
        self.world.account.warned = True
        self.world.note("low credit warning")

    def _run_dry(self) -> None:
        world = self.world
        world.account.broke_since = world.now
        world.note("credit used up")
        for contract in world.live:
            if contract.phase not in (Phase.STOPPED, Phase.OFFLINE):
                contract.intended = "stopped"
                contract.message = "Instance stopped: insufficient credit. Add credit to avoid deletion."
                self.life.halt(contract, "no-credit")

    def _delete_all(self) -> None:
        for contract in self.world.live:
            self.life.destroy(contract)
        for volume in self.world.open_volumes:
            self.world.delete_volume(volume)
        self.world.note("data deleted for lack of credit")

    def wake(self) -> None:
        """Start ticking, and boot again what ran when the emulator was last ended."""
        world = self.world
        for contract in world.live:
            self.publisher.publish(contract)
            world.fleet.place(world.box_order(contract))
            if contract.phase in (Phase.RUNNING, Phase.REBOOTING, Phase.BOXING):
                world.touch(contract)
                contract.phase, contract.due = Phase.BOXING, world.now
        self._tick = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self.settle()
            if ticks % BYTES_EVERY == 0:
                self.world.count_bytes(self.world.live)
            if ticks % SAVE_EVERY == 0:
                self.world.save()

    def _withdraw_ports(self) -> None:
        for contract_id in [i for i in self.world.port_maps if self.world.contracts[i].phase is Phase.DESTROYED]:
            self.publisher.withdraw(contract_id)

    async def close(self) -> None:
        """Stop ticking, pull every plug, write everything."""
        if self._tick is not None:
            self._tick.cancel()
        self.world.count_bytes(self.world.live)
        await self.publisher.close()
        await self.world.fleet.close()
        self.world.save(everything=True)
        self.world.store.close()
