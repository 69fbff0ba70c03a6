"""The renter's account: identity, keys and their scopes, SSH keys, credit."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from remote_gpu_trainer.emulator.money import pico

OPENING_CREDIT_USD = 100.0


@dataclass
class ApiKey:
    """One API key. ``permissions`` None may do everything; else ``{"api": {category: {endpoint: constraints}}}``."""

    id: int
    key: str
    name: str
    permissions: dict[str, Any] | None = None
    deleted: bool = False
    tfa_session: bool = False
    """Opened with a second factor: passes where two-factor authentication is on."""


@dataclass
class Credit:
    """A payment in: ``amount`` in picodollars, ``when`` in epoch seconds."""

    id: int
    when: float
    amount: int
    service: str
    description: str


@dataclass
class Account:
    """One customer. ``tfa`` demands a second-factor session for most calls; ``card`` is a saved means of payment."""

    id: int
    email: str
    username: str
    keys: list[ApiKey] = field(default_factory=list[ApiKey])
    ssh_keys: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    credits: list[Credit] = field(default_factory=list[Credit])
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    connections: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    tfa: bool = False
    card: bool = False
    next_id: int = 1
    searches_on: int = 0
    searches: int = 0
    broke_since: float | None = None
    warned: bool = False

    def fresh_id(self) -> int:
        """A number that this account has not used for anything."""
        self.next_id += 1
        return self.next_id

    def key(self, secret: str) -> ApiKey | None:
        """The live key with that text."""
        return next((k for k in self.keys if not k.deleted and secrets.compare_digest(k.key, secret)), None)

    def add_key(self, name: str, permissions: dict[str, Any] | None = None) -> ApiKey:
        """Make a key of 64 hex digits, as the platform's are."""
        made = ApiKey(self.fresh_id(), secrets.token_hex(32), name, permissions)
        self.keys.append(made)
        return made

    def pay_in(self, when: float, usd: float, service: str = "stripe_payments") -> Credit:
        """Add credit in USD."""
        credit = Credit(2_000_000 + self.fresh_id(), when, pico(usd), service, "Manual Billing from VISA ...4242")
        self.credits.append(credit)
        return credit

    @property
    def paid_in(self) -> int:
        """Picodollars of all credit."""
        return sum(credit.amount for credit in self.credits)

    @property
    def live_ssh_keys(self) -> list[dict[str, Any]]:
        """Keys that were not deleted."""
        return [key for key in self.ssh_keys if key["deleted_at"] is None]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, to be written at once: what holds lists is not copied."""
        return vars(self) | {"keys": [vars(key) for key in self.keys], "credits": [vars(c) for c in self.credits]}

    @classmethod
    def from_json(cls, blob: dict[str, Any]) -> "Account":
        """Back from :meth:`to_json`."""
        blob = {**blob, "keys": [ApiKey(**k) for k in blob["keys"]], "credits": [Credit(**c) for c in blob["credits"]]}
        return cls(**blob)


def open_account(number: int, now: float) -> Account:
    """A new customer with one key and some credit."""
    account = Account(number, "renter@example.com", "renter", next_id=number)
    account.add_key("default")
    account.pay_in(now, OPENING_CREDIT_USD)
    return account
