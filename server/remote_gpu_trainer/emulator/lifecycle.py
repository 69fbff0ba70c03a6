"""What moves a rental from phase to phase: boots, stops, auctions, end dates, hosts that go and come back."""

from remote_gpu_trainer.emulator.book import Machine
from remote_gpu_trainer.emulator.boot import (
    PICK_UP_S,
    START_S,
    driver_refusal,
    pull_seconds,
    read_image,
    success_message,
)
from remote_gpu_trainer.emulator.contracts import HOLDS_GPU, Contract, Phase
from remote_gpu_trainer.emulator.world import World

EXPIRED_KEPT_S = 48 * 3600.0
"""An expired contract may be deleted this long after its end date (docs 2026-08)."""
GHOST_AFTER_S, GHOST_FOR_S = 4.0, 3.0
UP = frozenset({Phase.RUNNING, Phase.REBOOTING, Phase.BOXING})


class Lifecycle:
    """The rules of phases, applied to a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def _enter(self, contract: Contract, phase: Phase, due: float | None = None) -> None:
        self.world.touch(contract)
        contract.phase, contract.due = phase, due

    # Starting

    def accept(self, contract: Contract) -> None:
        """Begin a new rental's boot from the very start."""
        contract.cause = ""
        self._enter(contract, Phase.CREATED, self.world.now + PICK_UP_S)

    def wish_running(self, contract: Contract) -> None:
        """The renter wants it to run: it gets its own GPU, or waits for it."""
        if contract.phase not in (Phase.STOPPED, Phase.EXITED):
            contract.intended = "running"
            return
        self._enter(contract, Phase.WAITING)
        contract.intended, contract.waiting_since = "running", self.world.now
        contract.cause = "rented"
        self.resolve(contract.machine_id)

    def begin(self, contract: Contract) -> None:
        """Its GPU is free for it: boot."""
        contract.waiting_since = None
        if contract.ran_before:
            contract.cause = ""
            self._enter(contract, Phase.BOXING, self.world.now + START_S)
        else:
            self.accept(contract)

    def step(self, contract: Contract) -> None:
        """The time of a contract's own next step has come."""
        world, machine = self.world, self.world.machine_of(contract)
        image = read_image(contract.image, machine.cuda_max_good)
        match contract.phase:
            case Phase.CREATED if image.missing:
                contract.message = image.no_such_manifest
                self._enter(contract, Phase.FAILED)
            case Phase.CREATED:
                contract.pull_from, contract.pull_s = world.now, pull_seconds(image, machine)
                self._enter(contract, Phase.PULLING, world.now + contract.pull_s)
            case Phase.PULLING:
                machine.cached_images.add(image.name)
                contract.message = driver_refusal(image, machine)
                failed = contract.message is not None
                self._enter(contract, Phase.FAILED if failed else Phase.BOXING, None if failed else world.now + START_S)
            case Phase.BOXING | Phase.REBOOTING:
                self._enter(contract, contract.phase)
                self._launch(contract)
            case _:
                contract.due = None

    def _launch(self, contract: Contract) -> None:
        world = self.world
        contract.boots += 1
        serial = contract.boots
        direct = "direc" in contract.runtype or contract.runtype == "args"
        direct = direct and world.machine_of(contract).direct_port_count > 0
        keys = [key["public_key"] for key in contract.ssh_keys]
        world.fleet.place(world.box_order(contract)).append_daemon_log(
            f"[{world.now:.0f}] start container C.{contract.id}"
        )

        def up() -> None:
            if contract.boots == serial and contract.phase in (Phase.BOXING, Phase.REBOOTING):
                self._enter(contract, Phase.RUNNING)
                contract.ran_before, contract.cause = True, ""
                contract.message = success_message(contract.image, contract.runtype)
                contract.running_since = world.now
                if (box := world.fleet.get(contract.id)) is not None:
                    contract.ssh_port = box.proxy_port or contract.ssh_port
                    box.append_daemon_log(f"[{world.now:.0f}] start container C.{contract.id}: {contract.message}")
                world.note("running", contract)
                world.save()

        def failed(reason: str) -> None:
            if contract.boots == serial and contract.phase in (Phase.BOXING, Phase.REBOOTING):
                contract.message = f"Error response from daemon: {reason}"
                self._enter(contract, Phase.FAILED)
                world.note(f"boot failed: {reason}", contract)
                world.save()

        world.fleet.start(contract.id, direct, keys, up, failed)

    # Stopping

    def halt(self, contract: Contract, cause: str, phase: Phase = Phase.STOPPED) -> None:
        """Take the GPU away and pull the plug; the disk stays.

        ``cause`` is user, expired, no-credit, outbid, displaced or exited.
        """
        self.world.count_bytes([contract])
        held = contract.phase in HOLDS_GPU
        self._enter(contract, phase)
        contract.cause, contract.stopped_at = cause, self.world.now
        if phase is Phase.WAITING:
            contract.waiting_since = self.world.now
        self.world.fleet.stop(contract.id)
        self.world.note(f"halted: {cause}", contract)
        if held and phase is not Phase.WAITING:
            self.resolve(contract.machine_id)

    def wish_stopped(self, contract: Contract) -> None:
        """The renter wants it stopped."""
        contract.intended = "stopped"
        if contract.phase not in (Phase.STOPPED, Phase.OFFLINE):
            self.halt(contract, "user")

    def reboot(self, contract: Contract) -> None:
        """Stop and start the container without losing the GPU."""
        self.world.count_bytes([contract])
        self._enter(contract, Phase.REBOOTING, self.world.now + START_S)
        self.world.fleet.stop(contract.id)

    def recycle(self, contract: Contract) -> None:
        """A new container from a newly pulled image, with an empty disk, on the same GPU."""
        self.world.count_bytes([contract])
        self.world.machine_of(contract).cached_images.discard(contract.image)
        self.world.fleet.renew(self.world.box_order(contract))
        self.accept(contract)

    def destroy(self, contract: Contract) -> None:
        """End the contract and wipe its disk."""
        self.world.count_bytes([contract])
        held = contract.phase in HOLDS_GPU
        self._enter(contract, Phase.DESTROYED)
        contract.destroyed_at = self.world.now
        if self.world.quirks.on("reappears"):
            contract.ghost_from = self.world.now + GHOST_AFTER_S
            contract.ghost_until = contract.ghost_from + GHOST_FOR_S
        for volume in self.world.volumes.values():
            if contract.id in volume.instances:
                volume.instances.remove(contract.id)
        self.world.fleet.wipe(contract.id)
        self.world.note("destroyed", contract)
        if held:
            self.resolve(contract.machine_id)

    # The market

    def resolve(self, machine_id: int) -> None:
        """Give every GPU of a machine to its strongest claim: start who waited, push out who lost."""
        if not self.world.book.machines[machine_id].online:
            return
        contracts = self.world.live
        for contract_id, granted in self.world.floor.granted(machine_id, contracts).items():
            contract = self.world.contracts[contract_id]
            if granted and contract.phase is Phase.WAITING:
                self.begin(contract)
            elif not granted and contract.phase is not Phase.WAITING:
                self.halt(contract, "outbid" if contract.is_bid else "displaced", Phase.WAITING)

    def market_step(self) -> None:
        """Let strangers come and go, and settle the machines they touch."""
        world = self.world
        before = {(s.id, s.machine_id) for s in world.floor.strangers.values()}
        world.floor.step(world.now, world.live, lively=world.quirks.on("lively-market"))
        after = {(s.id, s.machine_id) for s in world.floor.strangers.values()}
        for machine_id in sorted({machine for _, machine in before ^ after}):
            self.resolve(machine_id)

    # Hosts

    def hosts_step(self) -> None:
        """Let hosts go and return by themselves."""
        for machine in self.world.outages.step(self.world.now, lively=self.world.quirks.on("lively-market")):
            (self.vanish if machine.online else self.come_back)(machine)

    def vanish(self, machine: Machine) -> None:
        """A host drops off the network: its boxes are gone from sight and nothing bills."""
        machine.online = False
        for contract in [c for c in self.world.live if c.machine_id == machine.id and c.phase is not Phase.OFFLINE]:
            self.world.count_bytes([contract])
            contract.resume_phase = contract.phase.value
            self._enter(contract, Phase.OFFLINE)
            self.world.fleet.stop(contract.id)
            self.world.note("host offline", contract)

    def come_back(self, machine: Machine) -> None:
        """A host returns: what ran boots again, what was stopped is stopped."""
        machine.online = True
        self.world.outages.back_at.pop(machine.id, None)
        for contract in [c for c in self.world.live if c.machine_id == machine.id and c.phase is Phase.OFFLINE]:
            before = Phase(contract.resume_phase or Phase.STOPPED)
            if contract.intended == "running" and (before in UP or before is Phase.WAITING):
                self._enter(contract, Phase.WAITING)
                contract.waiting_since = self.world.now
            elif contract.intended == "running" and before in (Phase.CREATED, Phase.PULLING):
                self.accept(contract)
            else:
                self._enter(contract, Phase.STOPPED if before is not Phase.EXITED else before)
            self.world.note("host back", contract)
        self.resolve(machine.id)

    # Ends

    def next_end(self, contract: Contract) -> float | None:
        """When the end date next does something to a contract: stop it, or delete it."""
        if contract.phase is Phase.DESTROYED:
            return None
        if contract.cause != "expired":
            return contract.end_date
        return contract.end_date + EXPIRED_KEPT_S if self.world.quirks.on("expired-deleted") else None

    def end(self, contract: Contract) -> None:
        """The end date, or the end of the time after it."""
        if contract.cause == "expired":
            self.destroy(contract)
            return
        contract.intended = "stopped"
        contract.message = "Instance lifetime expired: the rental end date was reached."
        self.halt(contract, "expired")
