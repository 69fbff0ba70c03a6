"""An instance as the platform shows it: every field of its answer, from the contract, the machine and the box."""

from typing import Any

from remote_gpu_trainer.emulator.boot import pull_message
from remote_gpu_trainer.emulator.contracts import GPU_BILLED, Contract, Phase, status_of
from remote_gpu_trainer.emulator.money import HOURS_PER_MONTH
from remote_gpu_trainer.emulator.search import machine_fields, prices
from remote_gpu_trainer.emulator.transfers import size_of
from remote_gpu_trainer.emulator.world import World

PORTS_LATE_S = 2.0
HOST = "127.0.0.1"


def instance_row(world: World, contract: Contract) -> dict[str, Any]:
    """One instance as JSON.

    ``instance.totalHour`` is what it burns now; ``dph_total`` stays when it stops (seen live 2026).
    """
    machine, now = world.machine_of(contract), world.now
    status = status_of(contract, clean_stop_is_exited=world.quirks.on("stop-is-exited"))
    share = contract.num_gpus / machine.num_gpus
    disk_hour = contract.storage_cost * contract.disk_gb / HOURS_PER_MONTH
    gpu_now = contract.dph_base if contract.phase in GPU_BILLED else 0.0
    disk_now = 0.0 if contract.phase is Phase.OFFLINE else disk_hour
    priced = prices(contract.dph_base, contract.storage_cost, contract.disk_gb)
    flops, dlperf, total = (
        machine.gpu.tflops * contract.num_gpus,
        machine.gpu.dlperf * contract.num_gpus,
        priced["dph_total"],
    )
    running = contract.phase is Phase.RUNNING
    row = {
        "id": contract.id,
        "ask_contract_id": contract.ask_id,
        "actual_status": status.actual,
        "intended_status": status.intended,
        "cur_state": status.current,
        "next_state": status.next,
        "status_msg": shown_message(contract, now),
        "label": contract.label,
        "template_id": contract.template_id,
        "template_hash_id": contract.template_hash_id,
        "template_name": contract.template_name,
        "image_uuid": contract.image,
        "image_args": contract.args,
        "image_runtype": contract.runtype,
        "extra_env": [[key, value] for key, value in contract.env],
        "onstart": contract.onstart,
        "jupyter_token": contract.jupyter_token,
        "bundle_id": machine.id * 100 + contract.num_gpus,
        "num_gpus": contract.num_gpus,
        "gpu_frac": share,
        "gpu_totalram": machine.gpu.ram_mib * contract.num_gpus,
        "gpu_util": 0.0 if running else None,
        "gpu_temp": 41.0 if running else None,
        "cpu_cores_effective": machine.cpu_cores * share,
        "cpu_util": 0.0,
        "mem_limit": round(machine.cpu_ram_mb * share / 1000, 3) if running else None,
        "mem_usage": 0.41 if running else None,
        "vmem_usage": 0.0 if running else None,
        "disk_space": contract.disk_gb,
        "start_date": contract.start_date,
        "end_date": contract.end_date,
        "uptime_mins": max(0.0, now - (contract.running_since or now)) / 60 if running else None,
        "is_bid": contract.is_bid,
        "min_bid": world.floor.least_bid(machine, contract.num_gpus, _others_beside(world, contract), contract.gpu_ids)
        or machine.floor_per_gpu * contract.num_gpus,
        "rentable": machine.online,
        "rented": True,
        "dlperf": dlperf,
        "dlperf_per_dphtotal": dlperf / total,
        "flops_per_dphtotal": flops / total,
        "total_flops": flops,
        "score": dlperf / total,
        "storage_cost": contract.storage_cost,
        "inet_up_cost": contract.inet_up_cost,
        "inet_down_cost": contract.inet_down_cost,
        "inet_up_billed": contract.sent_bytes,
        "inet_down_billed": contract.received_bytes,
        "vram_costperhour": contract.dph_base / (machine.gpu.ram_mib * contract.num_gpus),
        "instance": {
            "gpuCostPerHour": gpu_now,
            "diskHour": disk_now,
            "totalHour": gpu_now + disk_now,
            "discountTotalHour": 0,
            "discountedTotalPerHour": gpu_now + disk_now,
        },
        "credit_balance": None,
        "credit_discount": None,
        "credit_discount_max": 0.4,
        "client_run_time": 1.1,
        "host_run_time": 2_592_000.0,
        "time_remaining": "",
        "time_remaining_isbid": "",
        "country_code": machine.geolocation[-2:],
        "volume_info": [_volume_info(world, held) for held in contract.volumes],
        "duration": max(0.0, contract.end_date - now),
    }
    return (
        machine_fields(machine, now)
        | row
        | {k: v for k, v in priced.items() if k != "search"}
        | {"search": priced["search"]}
        | _where(world, contract)
    )


def _others_beside(world: World, contract: Contract) -> list[Contract]:
    return [c for c in world.contracts.values() if c.machine_id == contract.machine_id and c.id != contract.id]


def _volume_info(world: World, held: dict[str, Any]) -> dict[str, Any]:
    """GB in all and GB left, as the CLI shows them beside the volume's id."""
    used = size_of(world.volume_folder(held["id"])) / 1e9
    return held | {"total_space": held["size"], "avail_space": max(0.0, held["size"] - used)}


def shown_message(contract: Contract, now: float) -> str | None:
    """The sentence beside the status: the pull's own words while the image comes down."""
    if contract.phase is Phase.PULLING and contract.pull_s > 0:
        return pull_message(contract.image, min(1.0, (now - contract.pull_from) / contract.pull_s))
    return contract.message


def _published(port: int) -> list[dict[str, str]]:
    return [{"HostIp": "0.0.0.0", "HostPort": str(port)}]  # noqa: S104  # the platform's words; nothing binds here


def _where(world: World, contract: Contract) -> dict[str, Any]:
    """Where SSH answers and what the disk holds."""
    box, machine = world.fleet.get(contract.id), world.machine_of(contract)
    up = contract.phase is Phase.RUNNING and box is not None
    direct = box.direct_port if up and box else None
    off_by_one = 1 if "jupyter" in contract.runtype and world.quirks.on("jupyter-port-off-by-one") else 0
    late = world.now < (contract.running_since or 0.0) + PORTS_LATE_S and world.quirks.on("ports-late")
    ports: dict[str, list[dict[str, str]]] | None = None
    if up and not late:
        ports = {inner: _published(outer) for inner, outer in world.port_maps.get(contract.id, {}).items()}
        if direct is not None:
            ports["22/tcp"] = _published(direct)
    used = box.disk_used_bytes / 1e9 if box is not None and contract.ran_before else -1
    return {
        "public_ipaddr": HOST,
        "local_ipaddrs": "10.2.202.31 172.17.0.1 \n",
        "ssh_host": HOST,
        "ssh_idx": contract.ssh_idx,
        "ssh_port": max(0, contract.ssh_port - off_by_one),
        "machine_dir_ssh_port": world.machine_ssh_port,
        "direct_port_count": machine.direct_port_count,
        "direct_port_start": direct if direct is not None else -1,
        "direct_port_end": direct if direct is not None else -1,
        "ports": ports,
        "disk_usage": used,
        "disk_util": used / contract.disk_gb if used >= 0 else -1,
    }
