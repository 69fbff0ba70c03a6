"""Whose account this is, and the looks whose silence may be believed."""

from dataclasses import dataclass

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import Account, Instance, Inventory
from remote_gpu_trainer.errors import AuthFailed
from remote_gpu_trainer.ports import Journal, Marketplace


@dataclass(frozen=True)
class Look:
    """One instance, looked for: present, provably absent, or neither."""

    instance: Instance | None
    inventory: Inventory | None
    """Read only when the instance did not show itself."""

    @property
    def absent(self) -> bool:
        """Absent in a complete listing of the pinned account. A bad key or half a listing is never absence."""
        return self.instance is None and self.inventory is not None and self.inventory.complete


class AccountWatch:
    """Reads the account, pins it at first use, and refuses every other one."""

    def __init__(self, market: Marketplace, journal: Journal) -> None:
        self._market = market
        self._journal = journal

    async def account(self) -> Account:
        """The key's account, which must be the one this journal belongs to.

        Raises:
            AuthFailed: it is another account's key.
        """
        account = await self._market.account()
        self._pin(account.id)
        return account

    async def inventory(self) -> Inventory:
        """Every instance of the pinned account."""
        inventory = await self._market.inventory()
        self._pin(inventory.account_id)
        return inventory

    async def look(self, instance_id: InstanceId) -> Look:
        """Look for one instance; when it does not show, list the whole account before anything is believed."""
        instance = await self._market.instance(instance_id)
        if instance is not None:
            return Look(instance, None)
        inventory = await self.inventory()
        found = next((row for row in inventory.instances if row.id == instance_id), None)
        return Look(found, inventory)

    def _pin(self, account_id: int) -> None:
        pinned = self._journal.account_id()
        if pinned is None:
            self._journal.pin_account(account_id)
        elif pinned != account_id:
            raise AuthFailed(
                f"the key belongs to account {account_id}, this journal to account {pinned}",
                next_step="use the key of the first account, or another RGT_HOME for the second",
                effect="Nothing was concluded about any instance.",
            )
