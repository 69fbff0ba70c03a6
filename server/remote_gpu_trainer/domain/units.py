"""Units as types, and the one way to print each."""

from typing import NewType

Usd = NewType("Usd", float)
"""US dollars."""

UsdPerHour = NewType("UsdPerHour", float)
"""US dollars for each hour."""

UsdPerGiBMonth = NewType("UsdPerGiBMonth", float)
"""US dollars for one GiB kept for 30 days (``storage_cost`` of an offer)."""

UsdPerGB = NewType("UsdPerGB", float)
"""US dollars for 10^9 bytes moved (``inet_up_cost``, ``inet_down_cost`` of an offer)."""

GiB = NewType("GiB", float)
"""2^30 bytes."""

HOURS_PER_MONTH = 30 * 24
GB = 10**9
GIB = 2**30


def show_usd(amount: float) -> str:
    """Dollars for a reader: cents, and four digits below ten cents, where bids and disks live."""
    return f"${amount:,.4f}" if abs(amount) < 0.1 and amount else f"${amount:,.2f}"


def show_bytes(count: int) -> str:
    """Bytes for a reader, in binary units."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
