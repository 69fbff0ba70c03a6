"""``nvidia-smi`` as a box answers it: the GPUs of the offer, at rest. Figures come from ``facts.json`` beside it."""

import datetime
import json
import sys
import uuid
from pathlib import Path
from typing import Any

IDLE_MIB = 4
BAD_ARGUMENTS = 2
UNITS = (" MiB", " %", " W", " MHz")


def fields(facts: dict[str, Any], index: int) -> dict[str, str]:
    """Every queryable field of one GPU, with units as the real tool prints them."""
    total = int(facts["gpu_ram_mib"])
    serial = uuid.uuid5(uuid.NAMESPACE_OID, f"{facts['instance_id']}/{index}")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y/%m/%d %H:%M:%S.000")
    return {
        "timestamp": now,
        "index": str(index),
        "count": str(facts["num_gpus"]),
        "name": facts["gpu_name"],
        "gpu_name": facts["gpu_name"],
        "uuid": f"GPU-{serial}",
        "gpu_uuid": f"GPU-{serial}",
        "pci.bus_id": f"00000000:{index + 1:02X}:00.0",
        "driver_version": facts["driver_version"],
        "memory.total": f"{total} MiB",
        "memory.used": f"{IDLE_MIB} MiB",
        "memory.free": f"{total - IDLE_MIB} MiB",
        "utilization.gpu": "0 %",
        "utilization.memory": "0 %",
        "temperature.gpu": "34",
        "fan.speed": "30 %",
        "pstate": "P8",
        "power.draw": "21.00 W",
        "power.limit": "350.00 W",
        "clocks.sm": "210 MHz",
        "clocks.mem": "405 MHz",
        "persistence_mode": "Enabled",
        "compute_mode": "Default",
    }


def query(facts: dict[str, Any], wanted: str, style: str) -> int:
    """``--query-gpu``: one line for each GPU."""
    names, styles = [name.strip() for name in wanted.split(",")], style.split(",")
    rows = [fields(facts, index) for index in range(facts["num_gpus"])]
    for name in names:
        if name not in fields(facts, 0):
            sys.stdout.write(f'Field "{name}" is not a valid field to query.\n\n')
            return BAD_ARGUMENTS
    if "noheader" not in styles:
        example = fields(facts, 0)
        heads = (f"{n} [{example[n].rsplit(' ', 1)[1]}]" if example[n].endswith(UNITS) else n for n in names)
        sys.stdout.write(", ".join(heads) + "\n")
    for row in rows:
        values = [row[name] for name in names]
        if "nounits" in styles:
            values = [value.rsplit(" ", 1)[0] if value.endswith(UNITS) else value for value in values]
        sys.stdout.write(", ".join(values) + "\n")
    return 0


def table(facts: dict[str, Any]) -> None:
    """The table that people know."""
    line, now = "+" + "-" * 77 + "+", datetime.datetime.now(datetime.UTC).strftime("%a %b %d %H:%M:%S %Y")
    driver, cuda = facts["driver_version"], facts["cuda_version"]
    out = [now, line, f"| NVIDIA-SMI {driver:<12} Driver Version: {driver:<12} CUDA Version: {cuda:<9}|"]
    cells = "+" + "-" * 31 + "+" + "-" * 22 + "+" + "-" * 22 + "+"
    out += [
        cells,
        "| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |",
        "| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |",
        cells.replace("-", "="),
    ]
    for index in range(facts["num_gpus"]):
        gpu = fields(facts, index)
        memory = f"{IDLE_MIB}MiB / {facts['gpu_ram_mib']}MiB"
        out += [
            f"| {index:>3}  {gpu['name']:<20.20} On  | {gpu['pci.bus_id']} Off |                  N/A |",
            f"| 30%   34C    P8    21W / 350W | {memory:>20} |      0%      Default |",
            cells,
        ]
    out += ["", line, "| Processes:" + " " * 66 + "|", "|  No running processes found" + " " * 49 + "|", line]
    sys.stdout.write("\n".join(out) + "\n")


def main(words: list[str], facts: dict[str, Any]) -> int:
    """Answer one command line; the exit status."""
    options = {name: value for name, _, value in (word.partition("=") for word in words)}
    if "-L" in options or "--list-gpus" in options:
        for index in range(facts["num_gpus"]):
            gpu = fields(facts, index)
            sys.stdout.write(f"GPU {index}: {gpu['name']} (UUID: {gpu['uuid']})\n")
        return 0
    if "--query-gpu" in options:
        return query(facts, options["--query-gpu"], options.get("--format", "csv"))
    if "--query-compute-apps" in options:
        if "noheader" not in options.get("--format", ""):
            sys.stdout.write(options["--query-compute-apps"].replace(",", ", ") + "\n")
        return 0
    unknown = [word for word in words if word not in ("-q", "-a")]
    if unknown:
        sys.stdout.write("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n")
        return BAD_ARGUMENTS
    table(facts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], json.loads(Path(__file__).with_name("facts.json").read_text())))
