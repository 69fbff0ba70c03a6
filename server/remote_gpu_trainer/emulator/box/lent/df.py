"""``df`` as a box answers it: one disk, of the size that was rented. Figures come from the files beside it."""

import json
import re
import sys
from pathlib import Path

UNITS = {"": 1024, "K": 1024, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "KB": 1000, "MB": 10**6, "GB": 10**9}
COLUMNS = {
    "source": "Filesystem", "fstype": "Type", "size": "Size", "used": "Used", "avail": "Avail",
    "pcent": "Use%", "target": "Mounted on",
}  # fmt: skip


def human(count: int, base: int) -> str:
    """A count with the unit that keeps it short, rounded up as ``df`` does."""
    size, unit = float(count), ""
    for unit in ("", "K", "M", "G", "T", "P"):
        if size < base or unit == "P":
            break
        size /= base
    if not unit:
        return str(count)
    tenths = -int(-size * 10 // 1)
    return f"{tenths / 10:.1f}{unit}" if tenths < 100 else f"{-int(-size // 1)}{unit}"


def main(words: list[str], total: int, used: int) -> int:
    """Print the table; the exit status."""
    columns, block, base = ["source", "size", "used", "avail", "pcent", "target"], 1024, 0
    text = " ".join(words)
    if found := re.search(r"(?:-B\s*|--block-size[= ])(\d*)([KMGT]?B?)", text):
        block = int(found[1] or 1) * (1 if not found[2] else UNITS.get(found[2], 1024))
    short = "".join(word[1:] for word in words if re.fullmatch(r"-[a-zA-Z]+", word) and not word.startswith("-B"))
    base = 1024 if "h" in short or "--human-readable" in words else 1000 if "H" in short else 0
    block = 1 << 20 if "m" in short else block
    if "T" in short:
        columns.insert(1, "fstype")
    if found := re.search(r"--output=([a-z,]+)", text):
        columns = [name for name in found[1].split(",") if name in COLUMNS]
    avail = max(0, total - used)

    def size(count: int) -> str:
        return human(count, base) if base else str(-(-count // block))

    values = {
        "source": "overlay", "fstype": "overlay", "size": size(total), "used": size(used), "avail": size(avail),
        "pcent": f"{min(100, -(-used * 100 // total)) if total else 100}%", "target": "/",
    }  # fmt: skip
    heads = dict(COLUMNS, size="Size" if base else "1K-blocks" if block == 1024 else f"{block}-blocks")
    if not base:
        heads["avail"] = "Available"
    width = {name: max(len(heads[name]), len(values[name])) for name in columns}
    for row in (heads, values):
        sys.stdout.write(" ".join(row[name].ljust(width[name]) for name in columns).rstrip() + "\n")
    return 0


if __name__ == "__main__":
    here = Path(__file__).parent
    facts = json.loads((here / "facts.json").read_text())
    sys.exit(main(sys.argv[1:], int(facts["disk_bytes"]), int((here / "used").read_text())))
