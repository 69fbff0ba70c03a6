"""The client: the Marketplace port over the platform's HTTP API."""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Literal

import httpx
from pydantic import JsonValue

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import Account, Charge, Instance, InstanceOrder, Inventory, Volume
from remote_gpu_trainer.domain.offers import Offer, OfferQuery
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.errors import InvalidRequest, RequestRejected
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.vastai import billing, copying, inventory
from remote_gpu_trainer.vastai.answers import as_row, as_rows
from remote_gpu_trainer.vastai.bodies import checked_bid, order_body, search_body
from remote_gpu_trainer.vastai.calls import About, Call, Repeat
from remote_gpu_trainer.vastai.copying import Direction, RsyncAddress
from remote_gpu_trainer.vastai.endpoints import usable_host
from remote_gpu_trainer.vastai.pacing import Pacing
from remote_gpu_trainer.vastai.refusals import unreadable
from remote_gpu_trainer.vastai.results import ResultReader, result_url_in
from remote_gpu_trainer.vastai.retry import RetryPolicy
from remote_gpu_trainer.vastai.translate import Incomplete, account_of, instance_of, offer_of, volume_of
from remote_gpu_trainer.vastai.transport import Transport
from remote_gpu_trainer.vastai.wire import WireKey, contract_in, read_text, read_whole

USER_AGENT = "remote-gpu-trainer"
MOST_LOG_LINES = 100_000
_KEY_TYPES = ("ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com ", "sk-ecdsa-sha2-")
_UNTOUCHED = "Nothing was changed."


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
        body = search_body(query, allocated_storage_gib)
        call = Call(
            "searching offers", "POST", "/api/v0/bundles/", "search", Repeat.READ, "Nothing was rented.", body=body
        )
        rows = as_rows((await self.transport.row(call)).get("offers"))
        if rows is None:
            raise unreadable(call, self.transport.redactor, "the answer holds no list of offers")
        offers: list[Offer] = []
        lacks: set[str] = set()
        for row in rows:
            try:
                offers.append(offer_of(row or {}, query.rental))
            except Incomplete as incomplete:
                lacks.add(str(incomplete))
        self.dropped_offers = len(rows) - len(offers)
        if rows and not offers:
            what = f"none of {len(rows)} offers can be read: {'; '.join(sorted(lacks)[:3])}"
            raise unreadable(call, self.transport.redactor, what)
        return offers

    async def create_instance(self, order: InstanceOrder) -> InstanceId:
        """Rent, once. The port says what is raised."""
        call = Call(
            f"renting offer {order.offer_id}",
            "PUT",
            f"/api/v0/asks/{order.offer_id}/",
            "create",
            Repeat.ONCE,
            "Nothing was rented.",
            About.OFFER,
            order_body(order),
        )
        row = await self.transport.row(call)
        contract = contract_in(row)
        if contract is None or row.get("success") is not True:
            raise unreadable(call, self.transport.redactor, "it does not name a contract")
        return InstanceId(contract)

    # Reading

    async def instance(self, instance_id: InstanceId) -> Instance | None:
        """One instance, or None where the platform shows none for this key; None alone proves nothing."""
        call = self._on(
            "reading instance", instance_id, "GET", "", "show", Repeat.READ, _UNTOUCHED, query={"owner": "me"}
        )
        answer = await self.transport.row(call)
        if "instances" in answer and answer["instances"] is None:
            return None
        row = as_row(answer.get("instances"))
        if row is None:
            raise unreadable(call, self.transport.redactor, "the answer holds no instance")
        try:
            found = instance_of(row, loopback_ok=self.transport.loopback)
        except Incomplete as incomplete:
            raise unreadable(call, self.transport.redactor, str(incomplete)) from None
        if found.id != instance_id:
            raise unreadable(call, self.transport.redactor, f"the answer shows instance {found.id}")
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
        call = Call("reading the account", "GET", "/api/v0/users/current/", "user", Repeat.READ, _UNTOUCHED)
        try:
            return account_of(await self.transport.row(call))
        except Incomplete as incomplete:
            raise unreadable(call, self.transport.redactor, str(incomplete)) from None

    async def volumes(self) -> list[Volume]:
        """Volumes of the account, which bill until deleted."""
        call = Call("listing volumes", "GET", "/api/v0/volumes/", "volumes", Repeat.READ, _UNTOUCHED)
        rows = as_rows((await self.transport.row(call)).get("volumes"))
        if rows is None:
            raise unreadable(call, self.transport.redactor, "the answer holds no list of volumes")
        try:
            return [volume_of(row or {}) for row in rows]
        except Incomplete as incomplete:
            raise unreadable(call, self.transport.redactor, str(incomplete)) from None

    async def charges(self, since: datetime) -> list[Charge]:
        """The platform's own bill since then, a line for each contract and kind; whole days in UTC."""
        return await billing.charges(self.transport, since)

    async def ssh_keys(self) -> list[str]:
        """Public keys on the account, deleted ones left out."""
        call = Call("listing SSH keys", "GET", "/api/v0/ssh/", "ssh", Repeat.READ, _UNTOUCHED)
        try:
            found = await self.transport.json(call)
        except RequestRejected as refused:
            if refused.details.get("status") == 404 and "no ssh key" in refused.message.lower():
                return []
            raise
        wrapped = as_row(found)
        rows = as_rows(found if wrapped is None else wrapped.get("ssh_keys"))
        if rows is None:
            raise unreadable(call, self.transport.redactor, "the answer holds no list of keys")
        lines = [WireKey.model_validate(row or {}).line for row in rows]
        return [line for line in lines if line]

    async def logs(self, instance_id: InstanceId, *, tail: int, daemon: bool = False) -> str:
        """Container (or host daemon) log, at most 1 MiB of its end. Untrusted text.

        Raises:
            WaitExpired: the upload did not appear within nine seconds.
        """
        body: dict[str, JsonValue] = {"tail": str(max(1, min(tail, MOST_LOG_LINES)))}
        if daemon:
            body["daemon_logs"] = "true"
        call = self._on(
            "asking for the log of instance",
            instance_id,
            "PUT",
            "request_logs/",
            "logs",
            Repeat.READ,
            "Nothing was read.",
            body=body,
        )
        return await self._result(call)

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
        word = "started" if state == "running" else "stopped"
        await self._manage(
            f"setting to {state} instance", instance_id, {"state": state}, f"The instance was not {word}."
        )

    async def set_label(self, instance_id: InstanceId, label: str) -> None:
        """Label. Safe to repeat."""
        await self._manage("labelling instance", instance_id, {"label": label}, "The label was not changed.")

    async def _manage(self, name: str, instance_id: InstanceId, body: dict[str, JsonValue], not_done: str) -> None:
        await self.transport.done(
            self._on(name, instance_id, "PUT", "", "manage", Repeat.IDEMPOTENT, not_done, body=body)
        )

    async def set_bid(self, instance_id: InstanceId, price: UsdPerHour) -> None:
        """Change an interruptible's price, once. Read back: the sources disagree on whether it takes effect."""
        not_done = "The bid was not changed."
        body: dict[str, JsonValue] = {"client_id": "me", "price": checked_bid(price, not_done)}
        await self.transport.done(
            self._on(
                "changing the bid of instance",
                instance_id,
                "PUT",
                "bid_price/",
                "bid",
                Repeat.ONCE,
                not_done,
                body=body,
            )
        )

    async def reboot(self, instance_id: InstanceId) -> None:
        """Restart the container on the same GPU, once."""
        not_done = "The instance was not rebooted."
        await self.transport.done(
            self._on("rebooting instance", instance_id, "PUT", "reboot/", "reboot", Repeat.ONCE, not_done, body={})
        )

    async def destroy_instance(self, instance_id: InstanceId) -> None:
        """Delete, once. The port says what is raised."""
        not_done = "The instance was not destroyed."
        await self.transport.done(
            self._on("destroying instance", instance_id, "DELETE", "", "destroy", Repeat.ONCE, not_done, body={})
        )

    async def add_ssh_key(self, public_key: str) -> None:
        """Register a key's content. It reaches instances created afterwards.

        Raises:
            InvalidRequest: it is no one-line OpenSSH public key: a path, or a private key.
        """
        line = public_key.strip()
        if not line.startswith(_KEY_TYPES) or len(line.split()) < 2 or "\n" in line or "\r" in line:
            raise InvalidRequest(
                "this is no one-line OpenSSH public key",
                next_step="give the content of the .pub file, not its path and not the private key",
                effect="No key was registered.",
            )
        call = Call(
            "registering an SSH key", "POST", "/api/v0/ssh/", "ssh", Repeat.ONCE, "No key was registered.",
            body={"ssh_key": line},
        )  # fmt: skip
        await self.transport.done(call)

    # The platform's own copies

    async def request_rsync(self, instance_id: InstanceId, *, remote_path: str = "/workspace/") -> RsyncAddress:
        """Where the machine serves this instance's disk over rsync, also stopped. A rescue that may fail."""
        call = copying.rsync_call(instance_id, remote_path)
        row = await self.transport.done(call)
        host = usable_host(read_text(row.get("src_addr")), loopback_ok=self.transport.loopback)
        port = read_whole(row.get("src_port"))
        if host is None or port is None or not 0 < port < 65536:
            raise unreadable(call, self.transport.redactor, "the answer names no src_addr and src_port")
        return RsyncAddress(host=host, port=port, user=copying.RSYNC_USER, module=str(instance_id))

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
        return read_text((await self.transport.done(call)).get("msg")) or ""

    @staticmethod
    def _on(
        name: str,
        instance_id: InstanceId,
        method: str,
        verb: str,
        family: str,
        repeat: Repeat,
        not_done: str,
        *,
        body: dict[str, JsonValue] | None = None,
        query: dict[str, str] | None = None,
    ) -> Call:
        path = f"/api/v0/instances/{verb}{int(instance_id)}/"
        return Call(f"{name} {instance_id}", method, path, family, repeat, not_done, About.INSTANCE, body, query or {})
