"""Money as whole picodollars (1e-12 USD), so that sums are exact and a bill adds up to its meter."""

PICO = 1_000_000_000_000
PICO_PER_CENT = PICO // 100
HOURS_PER_MONTH = 720
"""The platform's month for storage: 0.1493 USD/GB/month * 10 GB / 720 h = 0.002074 USD/h (OpenAPI 2026-08 example)."""


def pico(usd: float) -> int:
    """Whole picodollars of an amount or a rate in USD."""
    return round(usd * PICO)


def usd(amount: float) -> float:
    """USD of an amount in picodollars."""
    return amount / PICO


def cents(amount: int) -> int:
    """Whole cents of an amount in picodollars, half up."""
    return (amount + PICO_PER_CENT // 2) // PICO_PER_CENT


def over_time(rate_pico_per_hour: int, seconds: float) -> int:
    """Picodollars that a rate costs over ``seconds``."""
    return round(rate_pico_per_hour * seconds / 3600)


def for_bytes(rate_pico_per_gb: int, count: int) -> int:
    """Picodollars for ``count`` bytes at a price per GB (1e9 bytes)."""
    return rate_pico_per_gb * count // 1_000_000_000
