"""The order book: hosts, their machines, and what each offers, drawn reproducibly from a seed."""

import random
from dataclasses import dataclass, field

from remote_gpu_trainer.emulator.gpus import MODELS, GpuModel

DAY_S = 86_400.0
LEAST_OFFERS = 96
_DRIVERS = (
    (11.8, "520.61.05"),
    (12.2, "535.183.01"),
    (12.4, "550.127.05"),
    (12.6, "560.35.03"),
    (12.8, "570.124.04"),
    (13.0, "580.65.06"),
)
_PLACES = {
    "Washington, US": 7, "California, US": 6, "Texas, US": 4, "Quebec, CA": 3, "Sweden, SE": 3, "Norway, NO": 2,
    "Germany, DE": 3, "Czechia, CZ": 3, "Poland, PL": 2, "Spain, ES": 2, "Bulgaria, BG": 2, "Japan, JP": 2,
    "South Korea, KR": 2, "Taiwan, TW": 2, "Vietnam, VN": 2, "Australia, AU": 1,
}  # fmt: skip
_CPUS = (
    ("AMD EPYC 7K62 48-Core Processor", 96, 2.6),
    ("AMD EPYC 7713 64-Core Processor", 128, 2.0),
    ("Xeon® Silver 4110", 32, 2.1),
    ("AMD Ryzen 9 7950X 16-Core Processor", 32, 4.5),
    ("Core™ i9-13900K", 32, 3.0),
)
_DISKS = (
    ("Samsung SSD 990 PRO 4TB", 4800.0),
    ("WD_BLACK SN850X", 4100.0),
    ("KINGSTON SNV2S2000G", 1900.0),
    ("Samsung SSD 870", 500.0),
)
_BOARDS = ("ROME2D32GM-2T", "S7109GM2NR", "X670E Taichi", "Z790 Gaming", "H12SSL-i")


@dataclass
class Machine:
    """One host's computer. Prices in USD: per GPU and hour, per GB and month, per GB; links in Mbit/s; disk in GB."""

    id: int
    host_id: int
    gpu: GpuModel
    num_gpus: int
    price_per_gpu: float
    floor_per_gpu: float
    """The host's least bid for one GPU, USD/h."""
    storage_cost: float
    inet_up_cost: float
    inet_down_cost: float
    inet_up: float
    inet_down: float
    reliability: float
    verification: str
    direct_port_count: int
    cuda_max_good: float
    driver_version: str
    disk_space: float
    disk_name: str
    disk_bw: float
    cpu_name: str
    cpu_cores: int
    cpu_ghz: float
    cpu_ram_mb: int
    mobo_name: str
    geolocation: str
    datacenter: bool
    static_ip: bool
    public_ip: str
    listed_until: float
    """End of every rental here (``end_date``), seconds since the epoch."""
    start_date: float
    online: bool = True
    cached_images: set[str] = field(default_factory=set[str])


@dataclass(frozen=True)
class Offer:
    """An ask: ``num_gpus`` GPUs of one machine, rented whole."""

    id: int
    machine: Machine
    num_gpus: int


@dataclass(frozen=True)
class Book:
    """All machines and offers by id."""

    machines: dict[int, Machine]
    offers: dict[int, Offer]

    def offers_of(self, machine_id: int) -> list[Offer]:
        """The asks that a machine makes, small ones first."""
        return [offer for offer in self.offers.values() if offer.machine.id == machine_id]


def draw_book(seed: int, opened_at: float, least_offers: int = LEAST_OFFERS) -> Book:
    """Draw a market. The same arguments give the same book; ``opened_at`` is when lifetimes begin (epoch seconds)."""
    dice = random.Random(seed)  # noqa: S311  # a reproducible market, not a secret
    machines: dict[int, Machine] = {}
    offers: dict[int, Offer] = {}
    next_machine, next_offer = 10_000 + dice.randrange(500), 30_000_000 + dice.randrange(100_000)
    while len(offers) < least_offers:
        next_machine += dice.randint(3, 97)
        model = MODELS[3] if not machines else dice.choices(MODELS, weights=[m.weight for m in MODELS])[0]
        machine = _draw_machine(dice, next_machine, model, opened_at, plain=not machines)
        machines[machine.id] = machine
        size = 1
        while size <= machine.num_gpus:
            next_offer += dice.randint(1, 5000)
            offers[next_offer] = Offer(next_offer, machine, size)
            size *= 2
    return Book(machines, offers)


def _draw_machine(dice: random.Random, machine_id: int, model: GpuModel, opened_at: float, *, plain: bool) -> Machine:
    """Draw one machine; ``plain`` makes a good, verified one, so that every book has it."""
    quality = 0.9 if plain else dice.random()
    verification = "verified" if quality > 0.25 else ("deverified" if quality < 0.04 else "unverified")
    reliability = round(min(0.9998, 0.995 + quality * 0.005) if quality > 0.35 else dice.uniform(0.86, 0.985), 7)
    cuda, driver = _DRIVERS[4] if plain else dice.choices(_DRIVERS, weights=(1, 3, 5, 4, 6, 3))[0]
    if model.compute_cap >= 1200:
        cuda, driver = max((cuda, driver), _DRIVERS[4])
    cpu_name, cores, ghz = dice.choice(_CPUS)
    disk_name, disk_bw = dice.choice(_DISKS)
    price = round(model.price * (1.0 if plain else dice.uniform(0.78, 1.45)), 4)
    free_traffic = plain or dice.random() < 0.35
    days = 180.0 if plain else dice.choice((2.5, 6.0, 14.0, 30.0, 61.0, 95.0, 210.0, 330.0))
    return Machine(
        id=machine_id,
        host_id=20_000 + dice.randrange(90_000),
        gpu=model,
        num_gpus=4 if plain else dice.choice(model.chunks),
        price_per_gpu=price,
        floor_per_gpu=round(price * dice.uniform(0.3, 0.55), 4),
        storage_cost=0.15 if plain else round(dice.choice((0.08, 0.1, 0.15, 0.2, 0.3)) * dice.uniform(0.9, 1.2), 4),
        inet_up_cost=0.0 if free_traffic else round(dice.choice((0.001, 0.003, 0.01, 0.02)), 5),
        inet_down_cost=0.0 if free_traffic else round(dice.choice((0.001, 0.002, 0.005, 0.01)), 5),
        inet_up=880.0 if plain else round(dice.choice((38.0, 95.0, 410.0, 880.0, 2400.0)) * dice.uniform(0.8, 1.1), 1),
        inet_down=900.0
        if plain
        else round(dice.choice((70.0, 240.0, 700.0, 930.0, 4100.0)) * dice.uniform(0.8, 1.1), 1),
        reliability=reliability,
        verification=verification,
        direct_port_count=199 if plain else dice.choice((0, 1, 4, 16, 64, 100, 249, 999)),
        cuda_max_good=cuda,
        driver_version=driver,
        disk_space=round(dice.uniform(180.0, 3800.0), 2),
        disk_name=disk_name,
        disk_bw=round(disk_bw * dice.uniform(0.7, 1.05), 1),
        cpu_name=cpu_name,
        cpu_cores=cores,
        cpu_ghz=ghz,
        cpu_ram_mb=dice.choice((64_000, 128_576, 257_000, 515_000)),
        mobo_name=dice.choice(_BOARDS),
        geolocation=dice.choices(list(_PLACES), weights=list(_PLACES.values()))[0],
        datacenter=quality > 0.8,
        static_ip=plain or dice.random() < 0.7,
        public_ip=f"203.0.113.{dice.randint(1, 254)}",
        listed_until=opened_at + days * DAY_S + dice.uniform(0, DAY_S / 2),
        start_date=opened_at - dice.uniform(1, 300) * DAY_S,
    )
