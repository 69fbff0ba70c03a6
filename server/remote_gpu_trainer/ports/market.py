"""The platform."""

from datetime import datetime
from typing import Literal, Protocol

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import Account, Charge, DiskAddress, Instance, InstanceOrder, Inventory, Volume
from remote_gpu_trainer.domain.offers import Offer, OfferQuery
from remote_gpu_trainer.domain.units import UsdPerHour


class Marketplace(Protocol):
    """The platform. Reads are repeated by the adapter where that is safe; writes never are, but for those noted.

    Every method may raise a MarketError. A write whose answer is lost raises AnswerLost: it may have happened.
    """

    async def search_offers(self, query: OfferQuery, *, allocated_storage_gib: float) -> list[Offer]:
        """Offers that match, priced with that much disk."""
        ...

    async def create_instance(self, order: InstanceOrder) -> InstanceId:
        """Rent. Never repeated. The id means that a contract was named, not that it exists: read it back.

        Raises:
            OfferGone: nothing was rented.
            RequestRejected: refused; ``details["new_contract"]`` is set when the refusal still carries a contract.
            AnswerLost: it may have been rented.
        """
        ...

    async def instance(self, instance_id: InstanceId) -> Instance | None:
        """One instance, or None where the platform shows none for this key; None alone proves nothing."""
        ...

    async def inventory(self) -> Inventory:
        """All instances of the account, with the account that they were read for."""
        ...

    async def set_state(self, instance_id: InstanceId, state: Literal["running", "stopped"]) -> None:
        """Start or stop. Safe to repeat."""
        ...

    async def set_label(self, instance_id: InstanceId, label: str) -> None:
        """Label. Safe to repeat."""
        ...

    async def set_bid(self, instance_id: InstanceId, price: UsdPerHour) -> None:
        """Change an interruptible's price. Read back: the sources disagree on whether it takes effect."""
        ...

    async def reboot(self, instance_id: InstanceId) -> None:
        """Restart the container on the same GPU."""
        ...

    async def destroy_instance(self, instance_id: InstanceId) -> None:
        """Delete, once. The disk and every checkpoint on it are gone.

        Raises:
            NoSuchInstance: the platform knows none for this key, which is not proof.
            AnswerLost: it may be gone.
        """
        ...

    async def account(self) -> Account:
        """Who the key belongs to. Not cached."""
        ...

    async def ssh_keys(self) -> list[str]:
        """Public keys on the account."""
        ...

    async def add_ssh_key(self, public_key: str) -> None:
        """Register a key's *content*. It reaches instances created afterwards."""
        ...

    async def logs(self, instance_id: InstanceId, *, tail: int, daemon: bool = False) -> str:
        """Container (or host daemon) log. Untrusted text. Waits, bounded, until the upload appears."""
        ...

    async def request_rsync(self, instance_id: InstanceId) -> DiskAddress:
        """Where a stopped instance's disk can be read. A rescue that may fail."""
        ...

    async def volumes(self) -> list[Volume]:
        """Volumes of the account, which bill until deleted."""
        ...

    async def charges(self, since: datetime) -> list[Charge]:
        """The platform's own bill since then."""
        ...
