"""The whole platform in one object: market, contracts, meter, account, clock, and what survives a restart."""

import hashlib
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remote_gpu_trainer.emulator.account import Account, open_account
from remote_gpu_trainer.emulator.auction import Floor, Stranger
from remote_gpu_trainer.emulator.book import LEAST_OFFERS, Machine, draw_book
from remote_gpu_trainer.emulator.boxes import BoxOrder, Fleet, MakeBox
from remote_gpu_trainer.emulator.clock import Clock
from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.faults import Faults
from remote_gpu_trainer.emulator.limits import Limits
from remote_gpu_trainer.emulator.meter import Ledger, Meter, burn_rate, disk_rate
from remote_gpu_trainer.emulator.outages import Outages
from remote_gpu_trainer.emulator.quirks import Quirks
from remote_gpu_trainer.emulator.store import Store
from remote_gpu_trainer.emulator.volumes import Volume, accrue

GB = 1_000_000_000
ACCOUNT_ID = 457_210


@dataclass(frozen=True)
class Setup:
    """What an emulator is started with. ``opened_at`` is the moment of its very first start (epoch seconds)."""

    folder: Path
    seed: int
    speed: float
    opened_at: float
    ssh: str = "paramiko"
    isolation: str = "auto"
    network: str = "shared"
    offers: int = LEAST_OFFERS
    without: tuple[str, ...] = ()
    """Quirks that are off before anything happens: see ``quirks.ALL``."""


@dataclass
class Result:
    """A text that a result URL gives once ``ready_at`` (emulated) has passed."""

    text: str
    ready_at: float


@dataclass
class Event:
    """Something that happened, for the control surface."""

    at: float
    what: str
    contract_id: int | None = None


class World:
    """All state of one emulated platform. Everything runs on one event loop; nothing here waits."""

    def __init__(self, setup: Setup, make_box: MakeBox) -> None:
        self.setup = setup
        self.store = Store(setup.folder)
        meta = self.store.read("meta").get("meta", {})
        opened_at = float(meta.get("opened_at", setup.opened_at))
        self.seed = int(meta.get("seed", setup.seed))
        self.opened_at = opened_at
        self.clock = Clock(setup.speed, float(meta.get("now", opened_at)))
        self.book = draw_book(self.seed, opened_at, int(meta.get("offers", setup.offers)))
        self.floor = Floor(self.book, self.seed)
        self.outages = Outages(self.book, self.seed)
        self.meter = Meter()
        self.quirks = Quirks(meta.get("quirks"))
        for name in setup.without:
            self.quirks.switch(name, False)
        self.faults = Faults()
        self.limits = Limits()
        self.fleet = Fleet(make_box)
        self.contracts: dict[int, Contract] = {}
        self.volumes: dict[int, Volume] = {}
        self.templates: dict[int, dict[str, Any]] = {}
        self.port_maps: dict[int, dict[str, int]] = {}
        """Per instance, the external port of each internal one, such as ``8080/tcp``."""
        self.machine_ssh_port = 0
        """Where the machine-level rsync answers; 0 where there is none."""
        self.results: dict[str, Result] = {}
        self.events: list[Event] = []
        self.next_contract = int(meta.get("next_contract", 20_000_000 + self.seed % 1000 * 100))
        self.control_token = str(meta.get("control_token", secrets.token_urlsafe(24)))
        self.url = ""
        self.changes = 0
        """Grows with everything that may move the next event: see ``Engine.settle_to_read``."""
        self._moment: float | None = None
        self._dirty: set[int] = set()
        self._seen_bytes: dict[int, list[int]] = {}
        self._load(meta)
        self.save(everything=True)

    def _load(self, meta: dict[str, Any]) -> None:
        saved = self.store.read("account")
        self.account = (
            Account.from_json(next(iter(saved.values())))
            if saved
            else open_account(ACCOUNT_ID + self.seed % 97, self.opened_at)
        )
        for blob in self.store.read("contract").values():
            contract = Contract.from_json(blob)
            self.contracts[contract.id] = contract
        for blob in self.store.read("ledger").values():
            ledger = Ledger.from_json(blob)
            self.meter.ledgers[ledger.contract_id] = ledger
        for blob in self.store.read("volume").values():
            volume = self.volumes[blob["id"]] = Volume(**blob)
            if volume.deleted_at is None:
                self.add_volume(volume)
        for blob in self.store.read("template").values():
            self.templates[blob["id"]] = blob
        for blob in meta.get("strangers", []):
            self.floor.strangers[blob["id"]] = Stranger(**blob)
        self.outages.back_at = {int(machine_id): at for machine_id, at in meta.get("outages", {}).items()}
        for machine_id, state in meta.get("machines", {}).items():
            machine = self.book.machines[int(machine_id)]
            machine.online, machine.cached_images = state["online"], set(state["cached"])

    @property
    def now(self) -> float:
        """The emulated moment, epoch seconds; inside an event, the moment of that event."""
        return self.clock.now() if self._moment is None else self._moment

    def at(self, moment: float | None) -> None:
        """Set the moment of the event that is being worked on; None ends it."""
        self._moment = moment

    @property
    def live(self) -> list[Contract]:
        """Contracts that were not destroyed."""
        return [c for c in self.contracts.values() if c.phase is not Phase.DESTROYED]

    @property
    def open_volumes(self) -> list[Volume]:
        """Volumes that were not deleted."""
        return [v for v in self.volumes.values() if v.deleted_at is None]

    def machine_of(self, contract: Contract) -> Machine:
        """The machine that a contract is bound to."""
        return self.book.machines[contract.machine_id]

    def touch(self, contract: Contract) -> None:
        """Book a contract's time until now and mark it as changed. Call it before its phase or price changes."""
        self.meter.accrue(contract, self.now)
        self._dirty.add(contract.id)
        self.changes += 1

    def note(self, what: str, contract: Contract | None = None) -> None:
        """Record an event for the control surface."""
        self.events.append(Event(self.now, what, contract.id if contract else None))
        del self.events[:-2000]

    def count_bytes(self, contracts: Iterable[Contract]) -> None:
        """Book what went in and out of boxes since the last look."""
        for contract in contracts:
            box = self.fleet.get(contract.id)
            if box is None:
                continue
            sent, received = box.bytes_sent, box.bytes_received
            seen = self._seen_bytes.setdefault(contract.id, [0, 0])
            more_sent, more_received = max(0, sent - seen[0]), max(0, received - seen[1])
            seen[:] = [sent, received]
            if more_sent or more_received:
                self.bytes_passed(contract.id, more_sent, more_received)

    def bytes_passed(self, contract_id: int, sent: int, received: int) -> None:
        """Book bytes that left a contract's machine and came into it."""
        contract = self.contracts[contract_id]
        self.touch(contract)
        contract.sent_bytes += sent
        contract.received_bytes += received
        self.meter.bytes_moved(contract, self.now, sent, received)

    def balance(self) -> int:
        """Picodollars left: credit less the meter, up to now."""
        for contract in self.live:
            self.meter.accrue(contract, self.now)
        self.accrue_volumes()
        return self.account.paid_in - self.meter.total()

    def accrue_volumes(self) -> None:
        """Book the disk of volumes until now."""
        for volume in self.volumes.values():
            accrue(self.meter, volume, self.now)

    def burn(self) -> int:
        """Picodollars per hour that time costs now, over everything."""
        volumes = sum(disk_rate(v.storage_cost, v.disk_gb) for v in self.volumes.values() if v.deleted_at is None)
        return volumes + sum(burn_rate(c) for c in self.live)

    def cloud_folder(self, connection: int) -> Path:
        """The folder that stands for a cloud connection's bucket."""
        folder = self.setup.folder / "clouds" / str(connection)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def volume_folder(self, volume_id: int) -> Path:
        """The folder that holds a volume's files, whichever instances it is mounted in."""
        return self.setup.folder / "volumes" / str(volume_id)

    def add_volume(self, volume: Volume) -> None:
        """Begin a volume's bill, with an empty folder."""
        self.volumes[volume.id] = volume
        self.volume_folder(volume.id).mkdir(parents=True, exist_ok=True)

    def delete_volume(self, volume: Volume) -> None:
        """End a volume's bill and remove its files."""
        self.accrue_volumes()
        volume.deleted_at = self.now
        folder = self.volume_folder(volume.id)
        self.fleet.background(lambda: shutil.rmtree(folder))

    def box_order(self, contract: Contract) -> BoxOrder:
        """What the contract's box is made from."""
        machine = self.machine_of(contract)
        env = {key: value for key, value in contract.env if not key.startswith("-")}
        env |= {
            "CONTAINER_ID": str(contract.id),
            "VAST_CONTAINERLABEL": f"C.{contract.id}",
            "CONTAINER_API_KEY": contract.instance_api_key,
            "PUBLIC_IPADDR": "127.0.0.1",
        }
        for inner, outer in self.port_maps.get(contract.id, {}).items():
            number, _, kind = inner.partition("/")
            env[f"VAST_{kind.upper()}_PORT_{number}"] = str(outer)
        return BoxOrder(
            instance_id=contract.id,
            root=self.setup.folder / "boxes" / str(contract.id) / "root",
            disk_bytes=int(contract.disk_gb * GB),
            env=env,
            onstart=contract.onstart,
            gpu_name=machine.gpu.name,
            num_gpus=contract.num_gpus,
            gpu_ram_mib=machine.gpu.ram_mib,
            driver_version=machine.driver_version,
            cuda_version=f"{machine.cuda_max_good:.1f}",
            hostname=dict(contract.env).get("-h", hashlib.sha256(str(contract.id).encode()).hexdigest()[:12]),
            isolation=self.setup.isolation,
            ssh=self.setup.ssh,
            network=self.setup.network,
            mounts=tuple((self.volume_folder(held["id"]), held["mount_path"]) for held in contract.volumes),
        )

    def forget(self, kind: str, ident: str) -> None:
        """Remove a document from disk that is gone from memory."""
        self.store.delete(kind, ident)

    def save(self, *, everything: bool = False) -> None:
        """Write what changed to disk; done when it returns."""
        self.changes += 1
        ids = list(self.contracts) if everything else [i for i in self._dirty if i in self.contracts]
        self._dirty.clear()
        meta = {
            "opened_at": self.opened_at,
            "seed": self.seed,
            "offers": self.setup.offers,
            "now": self.now,
            "quirks": self.quirks.state,
            "next_contract": self.next_contract,
            "control_token": self.control_token,
            "strangers": [s.to_json() for s in self.floor.strangers.values()],
            "outages": self.outages.back_at,
            "machines": {
                str(m.id): {"online": m.online, "cached": sorted(m.cached_images)}
                for m in self.book.machines.values()
                if not m.online or m.cached_images
            },
        }
        documents: list[tuple[str, str, dict[str, Any]]] = [
            ("meta", "meta", meta),
            ("account", "account", self.account.to_json()),
        ]
        documents += [("contract", str(i), self.contracts[i].to_json()) for i in ids]
        documents += [("ledger", str(i), self.meter.ledgers[i].to_json()) for i in ids if i in self.meter.ledgers]
        documents += [("volume", str(v.id), v.to_json()) for v in self.volumes.values()]
        documents += [
            ("ledger", str(v), self.meter.ledgers[v].to_json()) for v in self.volumes if v in self.meter.ledgers
        ]
        documents += [("template", str(t["id"]), t) for t in self.templates.values()]
        self.store.write(documents)
