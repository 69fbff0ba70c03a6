"""Answers in the platform's form (OpenAPI 2026-08), with fields changed at will."""

from typing import Any

from remote_gpu_trainer.domain.instances import InstanceOrder
from remote_gpu_trainer.domain.offers import OfferQuery
from remote_gpu_trainer.domain.units import GiB

Row = dict[str, Any]
QUERY = OfferQuery()


def an_offer(**changed: Any) -> Row:
    return {
        "id": 30094969,
        "ask_contract_id": 30094969,
        "machine_id": 10770,
        "host_id": 73208,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram": 24564,
        "dph_base": 0.4,
        "dph_total": 0.42,
        "min_bid": 0.12,
        "storage_cost": 0.15,
        "inet_up_cost": 0.01,
        "inet_down_cost": 0.002,
        "inet_up": 335.1,
        "inet_down": 800.0,
        "reliability2": 0.9989,
        "verification": "verified",
        "direct_port_count": 12,
        "cuda_max_good": 12.4,
        "driver_version": "550.127.05",
        "disk_space": 500.0,
        "duration": 864000.0,
        "dlperf_per_dphtotal": 249.2,
        "geolocation": "Washington, US",
    } | changed


def an_instance(**changed: Any) -> Row:
    return {
        "id": 7,
        "machine_id": 178,
        "host_id": 2,
        "label": "rgt/digits-k3vq7m",
        "image_uuid": "python:3.12",
        "image_runtype": "ssh_direc ssh_proxy",
        "actual_status": "running",
        "intended_status": "running",
        "cur_state": "running",
        "next_state": "running",
        "status_msg": "success, running python_3.12/ssh",
        "is_bid": True,
        "start_date": 1761008618.225083,
        "end_date": 2034617753.0,
        "gpu_name": "RTX A5000",
        "num_gpus": 1,
        "dph_base": 0.2,
        "dph_total": 0.202,
        "storage_cost": 0.15,
        "inet_up_cost": 0.01,
        "inet_down_cost": 0.0,
        "disk_space": 20.0,
        "cuda_max_good": 12.4,
        "public_ipaddr": "63.135.50.11",
        "ssh_host": "ssh6.vast.ai",
        "ssh_port": 10882,
        "ports": {"22/tcp": [{"HostPort": "40022"}], "8080/tcp": [{"HostPort": "40080"}]},
        "volume_info": list[Row](),
        "instance": {"gpuCostPerHour": 0.2, "diskHour": 0.004, "totalHour": 0.204},
    } | changed


def a_page(*rows: Row, token: str | None = None, total: int | None = None, counts: Row | None = None) -> Row:
    told = {str(row.get("label") or ""): 0 for row in rows}
    for row in rows:
        told[str(row.get("label") or "")] += 1
    return {
        "success": True,
        "instances_found": len(rows),
        "total_instances": len(rows) if total is None else total,
        "label_counts": told if counts is None else counts,
        "next_token": token,
        "instances": list(rows),
    }


ACCOUNT = {"id": 457217, "email": "x@example.com", "credit": 12.5, "balance": 0.0, "can_pay": True, "api_key": "k" * 64}


def an_order(**changed: Any) -> InstanceOrder:
    fields: Row = {
        "offer_id": 5,
        "image": "python:3.12",
        "disk_gib": GiB(20.0),
        "label": "rgt/digits-k3vq7m",
        "onstart": "echo hi",
        "env": {"HF_TOKEN": "hf_secret"},
    }
    return InstanceOrder(**(fields | changed))
