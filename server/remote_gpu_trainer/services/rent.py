"""Renting exactly once: intent, request, answer, and a second look before anything is believed."""

import re
from secrets import choice

import anyio.to_thread

from remote_gpu_trainer import bundled
from remote_gpu_trainer.approval.refusal import NOT_USED
from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import (
    LEASE_ALPHABET,
    NAME_PATTERN,
    ApprovalId,
    InstanceId,
    LeaseId,
    OfferId,
    label_of,
)
from remote_gpu_trainer.domain.instances import Account, InstanceOrder, Volume, VolumeMount
from remote_gpu_trainer.domain.offers import Offer, OfferQuery, disk_usd_per_hour, job_cost
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import Intent, IntentState, Lease, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import GIB, Usd, UsdPerHour
from remote_gpu_trainer.errors import AnswerLost, InvalidRequest, OfferGone, RequestRejected, RgtError
from remote_gpu_trainer.ports import ApprovalBook, Clock, HostConnector, Journal, Marketplace
from remote_gpu_trainer.rules.base import Finding, Stage
from remote_gpu_trainer.rules.facts import RentFacts
from remote_gpu_trainer.rules.platform import Platform
from remote_gpu_trainer.rules.sizing import disk_need
from remote_gpu_trainer.secretstore import SecretStore
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.caps import Caps
from remote_gpu_trainer.services.guard import Guard
from remote_gpu_trainer.services.layout import boot_script, layout_of
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.offers import price_to_pay
from remote_gpu_trainer.services.reconcile import Reconciler
from remote_gpu_trainer.services.renting import NOT_RENTED, HandedOver, Priced, RentAsking, RentRequest

LOOKS_AFTER_LOSS = 6
SECONDS_BETWEEN_LOOKS = 5.0


class RentService:
    """Rents one offer, once."""

    def __init__(
        self,
        *,
        market: Marketplace,
        journal: Journal,
        watch: AccountWatch,
        reconciler: Reconciler,
        guard: Guard,
        ledger: Ledger,
        caps: Caps,
        asking: RentAsking,
        approvals: ApprovalBook,
        connector: HostConnector,
        policy: Policy,
        platform: Platform,
        secrets: SecretStore,
        clock: Clock,
    ) -> None:
        self._market = market
        self._journal = journal
        self._watch = watch
        self._reconciler = reconciler
        self._guard = guard
        self._ledger = ledger
        self._caps = caps
        self._asking = asking
        self._approvals = approvals
        self._connector = connector
        self._policy = policy
        self._platform = platform
        self._secrets = secrets
        self._clock = clock

    async def ask(self, request: RentRequest) -> ApprovalRequest | None:
        """What a person has to agree to before this may be rented; None when the policy allows it unasked.

        Raises:
            RuleViolation, BudgetExceeded, InvalidRequest, OfferGone: it is refused, whoever agrees.
        """
        await anyio.to_thread.run_sync(self._environment, request)
        priced = await self._priced(request)
        return self._asking.request(request, priced) if priced.over else None

    async def agreed(self, request: RentRequest, approval: ApprovalId, channel: Channel) -> LeaseRecord:
        """Rent for a person who has just agreed through the client. Only the elicitation resolver calls this.

        Nobody is handed the token: a yes that cannot be used at once ends, and the next call asks anew.

        Raises:
            As ``rent``.
        """
        token = self._approvals.approve(approval, channel=channel, assurance=AssuranceLevel.PERSON)
        try:
            return await self.rent(request, HandedOver(approval, token))
        finally:
            # Also when the call is cancelled. One that was spent stays as it is.
            self._approvals.void(approval, NOT_USED)

    async def rent(self, request: RentRequest, consent: HandedOver | None = None) -> LeaseRecord:
        """Rent, or say why not.

        Raises:
            RuleViolation, BudgetExceeded, InvalidRequest: refused before anything left.
            ConsentRequired, TokenRejected: above the policy's caps, and nobody agreed to just this.
            OfferGone: another was quicker; nothing was rented.
            AnswerLost: undecided; the lease stays in the journal, and poll_status settles it.
        """
        env = await anyio.to_thread.run_sync(self._environment, request)
        onstart = boot_script(self._platform, bundled.read_text("scripts/onstart.sh"))
        priced = await self._priced(request)
        offer, bid = priced.offer, priced.bid
        if priced.over:
            self._asking.demand(request, priced, consent)
        key = self._connector.public_key()
        volume = priced.volume
        if key.split()[1] not in {line.split()[1] for line in await self._market.ssh_keys() if " " in line}:
            # A key reaches only instances that are created after it (guides, 2026).
            await self._market.add_ssh_key(key)
        lease = Lease(
            id=_lease_id(request.name),
            opened_at=self._clock.now(),
            image=request.image,
            shape=request.shape,
            offer=offer,
            bid_usd_per_hour=bid,
            usd_per_hour=priced.per_hour,
            budget=Usd(priced.cost.total),
            checkpoint_minutes=request.checkpoint_minutes,
            checkpoint_bytes=None if request.checkpoint_gib is None else int(request.checkpoint_gib * GIB),
            kept_checkpoints=request.kept_checkpoints,
            secret_names=request.secret_names,
            ports=request.ports,
            continues=request.continues,
            acknowledged=request.acknowledge,
        )
        order = InstanceOrder(
            offer_id=offer.id,
            image=request.image,
            disk_gib=request.shape.disk_gib,
            label=label_of(lease.id),
            onstart=onstart,
            env=env,
            ports=request.ports,
            bid_usd_per_hour=bid,
            volume=None if volume is None else VolumeMount(id=volume.id, path=layout_of(self._platform).volume),
        )
        written = order.model_dump(mode="json", exclude={"env", "onstart"})
        if priced.over and consent is not None:
            intent = self._asking.spend(consent, lease, written)
        else:
            intent = self._journal.open_lease(lease, account_id=priced.account.id, request=written)
        self._guard.keep(Stage.RENT, lease.id, priced.found)
        return await self._create(intent, lease, order)

    async def _priced(self, request: RentRequest) -> Priced:
        """Price the offer as it is now, and hold it against the rules and the caps."""
        await self._reconciler.ensure()
        account = await self._watch.account()
        offer = await self._offer(request)
        bid = price_to_pay(offer, request.bid_usd_per_hour)
        cost = job_cost(offer, request.shape, bid)
        disk = disk_usd_per_hour(offer.storage_usd_per_gib_month, request.shape.disk_gib)
        per_hour = UsdPerHour((bid if bid is not None else offer.gpu_usd_per_hour) + disk)
        volume = await self._volume(request)
        hook = boot_script(self._platform, bundled.read_text("scripts/onstart.sh"))
        found = self._check(request, offer, bid, account, hook, self._connector.public_key(), volume)
        return Priced(account, offer, bid, cost, per_hour, self._caps.over(cost, per_hour), volume, found)

    async def _create(self, intent: Intent, lease: Lease, order: InstanceOrder) -> LeaseRecord:
        try:
            instance_id = await self._market.create_instance(order)
        except AnswerLost as error:
            self._journal.close_intent(intent.id, IntentState.AMBIGUOUS, {"code": error.code})
            return await self._settle(lease, error)
        except RequestRejected as error:
            contract = error.details.get("new_contract")
            if not isinstance(contract, int):
                raise self._never(intent, lease, error) from error
            # A refusal can carry a contract that bills (seen live, 2026): it is ours until proven otherwise.
            self._bind(intent, lease, InstanceId(contract))
            self._journal.move(lease.id, RunPhase.PARKED, "the platform refused the create and named a contract")
            raise RequestRejected(
                f"the platform refused the create and still named contract {contract}: {error.message}",
                next_step=f"poll_status {lease.id}: if the instance is there it bills, and destroy ends it (VAST30)",
                effect=f"Run {lease.id} is parked, not closed.",
                details=error.details,
            ) from error
        except RgtError as error:
            raise self._never(intent, lease, error) from error
        self._bind(intent, lease, instance_id)
        self._journal.move(lease.id, RunPhase.RENTED, "the platform named an instance")
        return self._record(lease.id)

    def _bind(self, intent: Intent, lease: Lease, instance_id: InstanceId) -> None:
        self._journal.bind_instance(lease.id, instance_id)
        self._journal.close_intent(intent.id, IntentState.DONE, {"new_contract": instance_id})
        self._journal.record("asked.start", lease.id, {"by": "create"})
        self._ledger.promise(lease.id, lease.usd_per_hour)

    def _never(self, intent: Intent, lease: Lease, error: RgtError) -> RgtError:
        self._journal.close_intent(intent.id, IntentState.FAILED, {"code": error.code})
        self._journal.move(lease.id, RunPhase.NEVER_WAS, f"refused: {error.code}")
        error.effect = error.effect or NOT_RENTED
        return error

    async def _settle(self, lease: Lease, error: AnswerLost) -> LeaseRecord:
        """The answer is lost: look by label, bounded; never ask again."""
        for _ in range(LOOKS_AFTER_LOSS):
            try:
                await self._reconciler.reconcile()
            except RgtError as failed:
                self._journal.record("settle.failed", lease.id, {"code": failed.code})
            record = self._record(lease.id)
            if record.phase is RunPhase.NEVER_WAS:
                raise OfferGone(
                    f"the answer to the create of {lease.id} was lost, and two complete looks at the account show "
                    "no such instance",
                    effect=NOT_RENTED,
                ) from error
            if record.instance_id is not None:
                return record
            await self._clock.sleep(SECONDS_BETWEEN_LOOKS)
        raise AnswerLost(
            f"the answer to the create of {lease.id} was lost, and the account does not show yet whether it happened",
            effect=f"Run {lease.id} stays in the journal; no second machine was asked for.",
        ) from error

    async def _offer(self, request: RentRequest) -> Offer:
        query = OfferQuery(
            rental=request.rental,
            offer_id=OfferId(request.offer_id),
            verified=False,
            min_reliability=0.0,
            min_direct_ports=0,
            limit=8,
        )
        offers = await self._market.search_offers(query, allocated_storage_gib=request.shape.disk_gib)
        for offer in offers:
            if offer.id == request.offer_id:
                return offer
        raise OfferGone(
            f"offer {request.offer_id} is not for rent as {request.rental.value} with "
            f"{request.shape.disk_gib:g} GiB of disk",
            effect=NOT_RENTED,
        )

    def _check(
        self,
        request: RentRequest,
        offer: Offer,
        bid: UsdPerHour | None,
        account: Account,
        onstart: str,
        key: str,
        volume: Volume | None,
    ) -> tuple[Finding, ...]:
        shape = request.shape
        facts = RentFacts(
            offer=offer,
            shape=request.shape,
            policy=self._policy,
            image=request.image,
            bid=bid,
            platform=self._platform,
            now=self._clock.now(),
            direct=True,
            cancel_unavailable=True,
            checkpoint_minutes=request.checkpoint_minutes,
            resumes=request.resumes,
            has_boot_hook=bool(self._platform.boot_hook),
            onstart=onstart,
            env=request.env,
            secret_names=request.secret_names,
            ports=request.ports,
            account=account,
            public_key=key,
            # It is put on the account before the create leaves, so that it reaches the new instance either way.
            key_registered=True,
            searched_as=request.rental,
            disk_need_gib=None
            if request.checkpoint_gib is None
            else disk_need(
                image_gib=shape.image_gib,
                data_gib=shape.upload_gib,
                checkpoint_gib=request.checkpoint_gib,
                kept_checkpoints=request.kept_checkpoints,
            ),
            volume_machine=None if volume is None else volume.machine_id,
            unresolved_creates=tuple(
                intent.lease for intent in self._journal.open_intents() if intent.action == "create"
            ),
        )
        return self._guard.enforce(
            Stage.RENT, facts, effect=NOT_RENTED, lease=None, acknowledged=request.acknowledge, keep=False
        )

    async def _volume(self, request: RentRequest) -> Volume | None:
        if request.volume_id is None:
            return None
        volumes = await self._market.volumes()
        for volume in volumes:
            if volume.id == request.volume_id and volume.machine_id is not None:
                return volume
        raise InvalidRequest(
            f"the account shows no volume {request.volume_id} with its machine",
            next_step=f"the volumes are {', '.join(str(volume.id) for volume in volumes) or 'none'}",
            effect=NOT_RENTED,
        )

    def _environment(self, request: RentRequest) -> dict[str, str]:
        if not re.fullmatch(NAME_PATTERN, request.name):
            raise InvalidRequest(
                f"name {request.name[:40]!r} must begin with a letter and hold at most 31 of a-z, 0-9 and -",
                effect=NOT_RENTED,
            )
        values = {name: self._secrets.value(name) for name in request.secret_names}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise InvalidRequest(
                f"the server holds no secret named {', '.join(missing)}",
                next_step="ask the person to set RGT_SECRET_<NAME> in the server's environment, or to keep it in the "
                "keyring with `rgt secret set <NAME>`; do not take the value yourself",
                effect=NOT_RENTED,
            )
        # The hub's cache on the small root is what fills disks first (VAST10); the caller's own word wins.
        usual = {"HF_HOME": self._platform.hub_cache}
        return {**usual, **request.env, **{name: value for name, value in values.items() if value is not None}}

    def _record(self, lease: LeaseId) -> LeaseRecord:
        record = self._journal.lease(lease)
        if record is None:
            raise AnswerLost(f"the journal lost run {lease}")
        return record


def _lease_id(name: str) -> LeaseId:
    return LeaseId(f"{name}-{''.join(choice(LEASE_ALPHABET) for _ in range(6))}")
