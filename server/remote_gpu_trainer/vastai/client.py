"""The client: the Marketplace port over the platform's HTTP API."""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Literal

import httpx

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import Account, Charge, DiskAddress, Instance, InstanceOrder, Inventory, Volume
from remote_gpu_trainer.domain.offers import Offer, OfferQuery
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.errors import MarketError, RequestRejected
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.vastai import billing, copying, inventory, routes
from remote_gpu_trainer.vastai.answers import as_row, as_rows
from remote_gpu_trainer.vastai.calls import Call
from remote_gpu_trainer.vastai.copying import Direction
from remote_gpu_trainer.vastai.endpoints import usable_host
from remote_gpu_trainer.vastai.pacing import Pacing
from remote_gpu_trainer.vastai.refusals import unreadable
from remote_gpu_trainer.vastai.results import ResultReader, result_url_in
from remote_gpu_trainer.vastai.retry import RetryPolicy
from remote_gpu_trainer.vastai.translate import Incomplete, account_of, instance_of, offer_of, volume_of
from remote_gpu_trainer.vastai.transport import Transport
from remote_gpu_trainer.vastai.wire import WireKey, contract_in, read_text, read_whole

USER_AGENT = "remote-gpu-trainer"


class VastClient:
    """Implements ``ports.Marketplace``. One per account; safe for concurrent use within one event loop.

    Args:
        base_url: ``VAST_URL``; https, or http on this machine.
        api_key: ``VAST_API_KEY``; shown in no repr, error or log.
        clock: Time for pacing, retries and waits.
        transport: The seam to httpx, for tests.
        pacing: Least intervals; by default the platform's own, and none for a server on this machine.
        retry: Bounds of repeated reads.
        user_agent: How we introduce ourselves.

    Raises:
        ConfigError: the URL or the key cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
        pacing: Pacing | None = None,
        retry: RetryPolicy | None = None,
        user_agent: str = USER_AGENT,
    ) -> None:
        self.transport = Transport(
            base_url,
            api_key,
            clock=clock,
            transport=transport,
            pacing=pacing,
            retry=retry or RetryPolicy(),
            user_agent=user_agent,
        )
        self._results = ResultReader(
            clock, user_agent=user_agent, trust_env=not self.transport.loopback, tls=self.transport.tls
        )
        self.dropped_offers = 0
        """Rows of the last search that lacked a price, an id or another fact that decides a rental."""
        self.unreadable_instances = 0
        """Rows of the last inventory that could not be read; such an inventory is never complete."""

    def __repr__(self) -> str:
        """Where it sends, never the key."""
        return f"VastClient({self.transport.base_url!r})"

    async def aclose(self) -> None:
        """Close all connections. Safe to repeat."""
        await self.transport.aclose()
        await self._results.aclose()

    async def __aenter__(self) -> "VastClient":
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    # Offers and renting

    async def search_offers(self, query: OfferQuery, *, allocated_storage_gib: float) -> list[Offer]:
        """Offers that match, priced with that much disk; rows that lack a deciding fact are dropped and counted."""
        call = routes.search_call(query, allocated_storage_gib)
        rows = as_rows((await self.transport.row(call)).get("offers"))
        if rows is None:
            raise self._unreadable(call, "the answer holds no list of offers")
        offers: list[Offer] = []
        lacks: set[str] = set()
        for row in rows:
            try:
                offers.append(offer_of(row or {}, query.rental))
            except Incomplete as incomplete:
                lacks.add(str(incomplete))
        self.dropped_offers = len(rows) - len(offers)
        if rows and not offers:
            raise self._unreadable(call, f"none of {len(rows)} offers can be read: {'; '.join(sorted(lacks)[:3])}")
        return offers

    async def create_instance(self, order: InstanceOrder) -> InstanceId:
        """Rent, once. The port says what is raised."""
        call = routes.create_call(order)
        row = await self.transport.done(call)
        contract = contract_in(row)
        if contract is None:
            raise self._unreadable(call, "it does not name a contract")
        return InstanceId(contract)

    # Reading

    async def instance(self, instance_id: InstanceId) -> Instance | None:
        """One instance, or None where the platform shows none for this key; None alone proves nothing."""
        call = routes.show_call(instance_id)
        answer = await self.transport.row(call)
        if "instances" in answer and answer["instances"] is None:
            return None
        row = as_row(answer.get("instances"))
        if row is None:
            raise self._unreadable(call, "the answer holds no instance")
        try:
            found = instance_of(row, loopback_ok=self.transport.loopback)
        except Incomplete as incomplete:
            raise self._unreadable(call, str(incomplete)) from None
        if found.id != instance_id:
            raise self._unreadable(call, f"the answer shows instance {found.id}")
        return found

    async def inventory(self) -> Inventory:
        """All instances, with the account of the same key. Looks twice before it calls itself incomplete."""
        account = await self.account()
        look = await inventory.look(self.transport)
        if not look.complete:
            look = await inventory.look(self.transport)
        self.unreadable_instances = look.unreadable
        return Inventory(account_id=account.id, instances=tuple(look.instances), complete=look.complete)

    async def account(self) -> Account:
        """Who the key belongs to. Not cached."""
        call = routes.account_call()
        try:
            return account_of(await self.transport.row(call))
        except Incomplete as incomplete:
            raise self._unreadable(call, str(incomplete)) from None

    async def volumes(self) -> list[Volume]:
        """Volumes of the account, which bill until deleted."""
        call = routes.volumes_call()
        rows = as_rows((await self.transport.row(call)).get("volumes"))
        if rows is None:
            raise self._unreadable(call, "the answer holds no list of volumes")
        try:
            return [volume_of(row or {}) for row in rows]
        except Incomplete as incomplete:
            raise self._unreadable(call, str(incomplete)) from None

    async def charges(self, since: datetime) -> list[Charge]:
        """The platform's own bill since then, a line for each contract and kind; whole days in UTC."""
        return await billing.charges(self.transport, since)

    async def ssh_keys(self) -> list[str]:
        """Public keys on the account, deleted ones left out."""
        call = routes.ssh_keys_call()
        try:
            found = await self.transport.json(call)
        except RequestRejected as refused:
            if refused.details.get("status") == 404 and "no ssh key" in refused.message.lower():
                return []
            raise
        wrapped = as_row(found)
        rows = as_rows(found if wrapped is None else wrapped.get("ssh_keys"))
        if rows is None:
            raise self._unreadable(call, "the answer holds no list of keys")
        lines = [WireKey.model_validate(row or {}).line for row in rows]
        return [line for line in lines if line]

    async def logs(self, instance_id: InstanceId, *, tail: int, daemon: bool = False) -> str:
        """Container (or host daemon) log, at most 1 MiB of its end. Untrusted text.

        Raises:
            WaitExpired: the upload did not appear within nine seconds.
        """
        return await self._result(routes.logs_call(instance_id, tail=tail, daemon=daemon))

    async def instance_command(self, instance_id: InstanceId, argv: Sequence[str]) -> str:
        """The output of ``ls`` or ``du`` on a (stopped) instance's disk. Untrusted text.

        Raises:
            InvalidRequest: another command.
            WaitExpired: no output appeared within nine seconds.
        """
        return await self._result(copying.command_call(instance_id, argv))

    async def _result(self, call: Call) -> str:
        row = await self.transport.done(call)
        url = result_url_in(row.get("result_url"), loopback=self.transport.loopback)
        return self.transport.redactor.clean(await self._results.read(url, call.name))

    # Changing

    async def set_state(self, instance_id: InstanceId, state: Literal["running", "stopped"]) -> None:
        """Start or stop. Safe to repeat."""
        await self.transport.done(routes.state_call(instance_id, state))

    async def set_label(self, instance_id: InstanceId, label: str) -> None:
        """Label. Safe to repeat."""
        await self.transport.done(routes.label_call(instance_id, label))

    async def set_bid(self, instance_id: InstanceId, price: UsdPerHour) -> None:
        """Change an interruptible's price, once. Read back: the sources disagree on whether it takes effect."""
        await self.transport.done(routes.bid_call(instance_id, price))

    async def reboot(self, instance_id: InstanceId) -> None:
        """Restart the container on the same GPU, once."""
        await self.transport.done(routes.reboot_call(instance_id))

    async def destroy_instance(self, instance_id: InstanceId) -> None:
        """Delete, once. The port says what is raised."""
        await self.transport.done(routes.destroy_call(instance_id))

    async def add_ssh_key(self, public_key: str) -> None:
        """Register a key's content. It reaches instances created afterwards.

        Raises:
            InvalidRequest: it is no one-line OpenSSH public key: a path, or a private key.
        """
        await self.transport.done(routes.add_ssh_key_call(public_key))

    # The platform's own copies

    async def request_rsync(self, instance_id: InstanceId, *, remote_path: str = "/workspace/") -> DiskAddress:
        """Where the machine serves this instance's disk over rsync, also stopped. A rescue that may fail."""
        call = copying.rsync_call(instance_id, remote_path)
        row = await self.transport.done(call)
        host = usable_host(read_text(row.get("src_addr")), loopback_ok=self.transport.loopback)
        port = read_whole(row.get("src_port"))
        if host is None or port is None or not 0 < port < 65536:
            raise self._unreadable(call, "the answer names no src_addr and src_port")
        return DiskAddress(host=host, port=port, user=copying.RSYNC_USER, module=str(instance_id))

    async def request_cloud_copy(
        self,
        instance_id: InstanceId,
        *,
        source: str,
        target: str,
        connection: str,
        direction: Direction,
        flags: Sequence[str] = (),
    ) -> str:
        """Start a sync with a cloud connection of the account, once. Progress shows in the status message, 30 s late.

        Returns:
            The platform's message. Untrusted text.
        """
        call = copying.cloud_call(
            instance_id, source=source, target=target, connection=connection, direction=direction, flags=flags
        )
        return self.transport.redactor.clean(read_text((await self.transport.done(call)).get("msg")) or "")

    def _unreadable(self, call: Call, what: str) -> MarketError:
        return unreadable(call, self.transport.redactor, what)
