"""Going on after a preemption, an exit or a lost host; and stopping on purpose."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

from pydantic import JsonValue

from remote_gpu_trainer.domain.ids import OfferId
from remote_gpu_trainer.domain.instances import AT_REST, Instance
from remote_gpu_trainer.domain.offers import OfferQuery, RentalType
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import IntentState, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.errors import AnswerLost, InvalidRequest, RgtError, WrongPhase
from remote_gpu_trainer.ports import Clock, Journal, Marketplace
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import ResumeFacts, ResumeMethod, StopFacts
from remote_gpu_trainer.rules.platform import Platform
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.guard import Guard
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.lookup import find_run, instance_of
from remote_gpu_trainer.services.rent import RentService
from remote_gpu_trainer.services.renting import RentRequest
from remote_gpu_trainer.services.views import RunView
from remote_gpu_trainer.services.watch import WatchService

NOT_RESUMED = "The run was not resumed."
Method = Literal["auto", "restart", "rebid", "relaunch"]


class StateChanger:
    """Starts, stops and rebids, with the intent written first. All three are safe to look at afterwards."""

    def __init__(self, market: Marketplace, journal: Journal) -> None:
        self._market = market
        self._journal = journal

    async def change(self, record: LeaseRecord, state: Literal["running", "stopped"]) -> None:
        """Ask the platform to start or stop an instance."""
        action = "start" if state == "running" else "stop"
        async with self._intended(record, action, {"state": state}):
            self._journal.record(f"asked.{action}", record.lease.id, {"instance": instance_of(record)})
            await self._market.set_state(instance_of(record), state)

    async def rebid(self, record: LeaseRecord, price: UsdPerHour) -> None:
        """Change an interruptible's price."""
        async with self._intended(record, "bid", {"usd_per_hour": price}):
            await self._market.set_bid(instance_of(record), price)

    @asynccontextmanager
    async def _intended(
        self, record: LeaseRecord, action: Literal["stop", "start", "bid"], request: Mapping[str, JsonValue]
    ) -> AsyncGenerator[None]:
        """Write an intent before the platform is asked, and how it ended."""
        intent = self._journal.open_intent(record.lease.id, action, request)
        try:
            yield
        except RgtError as error:
            lost = isinstance(error, AnswerLost)
            state = IntentState.AMBIGUOUS if lost else IntentState.FAILED
            self._journal.close_intent(intent.id, state, {"code": error.code})
            raise
        self._journal.close_intent(intent.id, IntentState.DONE, {})


class ResumeService:
    """Chooses and carries out the way on."""

    def __init__(
        self,
        *,
        market: Marketplace,
        journal: Journal,
        watch: AccountWatch,
        views: WatchService,
        states: StateChanger,
        rent: RentService,
        guard: Guard,
        ledger: Ledger,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._market = market
        self._journal = journal
        self._watch = watch
        self._views = views
        self._states = states
        self._rent = rent
        self._guard = guard
        self._ledger = ledger
        self._policy = policy
        self._clock = clock

    async def resume(
        self,
        target: str | int,
        *,
        method: Method = "auto",
        bid: UsdPerHour | None = None,
        offer_id: int | None = None,
        acknowledge: tuple[str, ...] = (),
    ) -> RunView:
        """Bring a run back: restart in place, at a new price, or elsewhere.

        Raises:
            RuleViolation: for example waiting for a GPU that was rented away (VAST3).
            BudgetExceeded: the new price breaks a cap.
        """
        record = find_run(self._journal, target)
        instance = (await self._watch.look(instance_of(record))).instance
        chosen = self._choose(method, bid, offer_id)
        self._check(record, instance, chosen, bid, acknowledge)
        if chosen == "relaunch":
            return await self._elsewhere(record, offer_id, bid, acknowledge)
        if instance is None or instance.phase not in AT_REST:
            seen = "not shown by the platform" if instance is None else instance.phase.value
            raise WrongPhase(
                f"run {record.lease.id} is {seen}, so there is nothing to restart in place",
                next_step="poll_status for the cause; method=relaunch takes it to another offer",
                effect=NOT_RESUMED,
            )
        if chosen == "rebid":
            if bid is None:
                raise InvalidRequest("method=rebid needs bid_usd_per_hour", effect=NOT_RESUMED)
            if bid > self._policy.max_usd_per_hour:
                raise InvalidRequest(
                    f"a bid of ${bid:g} an hour is above the person's cap of ${self._policy.max_usd_per_hour:g}",
                    effect=NOT_RESUMED,
                )
            await self._states.rebid(record, bid)
        await self._states.change(record, "running")
        if record.phase in {RunPhase.HOME, RunPhase.PROVEN, RunPhase.PARKED, RunPhase.FINISHED}:
            # What was proven no longer covers what a running machine may write.
            self._journal.move(record.lease.id, RunPhase.RENTED, "started again")
        return (await self._views.status(record.lease.id))[0]

    @staticmethod
    def _choose(method: Method, bid: UsdPerHour | None, offer_id: int | None) -> ResumeMethod:
        if method != "auto":
            return method
        if offer_id is not None:
            return "relaunch"
        return "rebid" if bid is not None else "restart"

    def _check(
        self,
        record: LeaseRecord,
        instance: Instance | None,
        method: ResumeMethod,
        bid: UsdPerHour | None,
        acknowledge: tuple[str, ...],
    ) -> None:
        lease = record.lease.id
        copies = [copy for copy in self._journal.copies(lease) if self._journal.verification(copy.copy_id)]
        facts = ResumeFacts(
            instance=instance,
            now=self._clock.now(),
            method=method,
            phase_since=None if instance is None else self._ledger.phase_since(lease, instance.phase),
            start_asked_at=self._ledger.asked_at(lease, "start"),
            resumes=None if record.job is None else record.job.resumes,
            off_box_checkpoint_at=copies[0].finished_at if copies else None,
            new_bid=bid,
        )
        self._guard.enforce(Stage.RESUME, facts, effect=NOT_RESUMED, lease=lease, acknowledged=acknowledge)

    async def _elsewhere(
        self, record: LeaseRecord, offer_id: int | None, bid: UsdPerHour | None, acknowledge: tuple[str, ...]
    ) -> RunView:
        if offer_id is None:
            raise InvalidRequest(
                "method=relaunch needs offer_id", next_step="search_offers for another machine", effect=NOT_RESUMED
            )
        lease = record.lease
        bids = await self._market.search_offers(
            OfferQuery(
                rental=RentalType.INTERRUPTIBLE if bid is not None else RentalType.ON_DEMAND,
                offer_id=OfferId(offer_id),
                verified=False,
                min_reliability=0.0,
                min_direct_ports=0,
            ),
            allocated_storage_gib=lease.shape.disk_gib,
        )
        new = await self._rent.rent(
            RentRequest(
                name=lease.id.rsplit("-", 1)[0],
                offer_id=offer_id,
                image=lease.image,
                shape=lease.shape,
                rental=bids[0].rental if bids else lease.offer.rental,
                bid_usd_per_hour=bid,
                checkpoint_minutes=lease.checkpoint_minutes,
                resumes=None if record.job is None else record.job.resumes,
                ports=lease.ports,
                secret_names=lease.secret_names,
                acknowledge=acknowledge,
                continues=lease.id,
            )
        )
        view = (await self._views.status(new.lease.id))[0]
        note = (
            f"the old instance of {lease.id} is kept and bills; push_files the newest proven copy and the code here, "
            "then start_job; env that was given at create is not kept, so pass what the job needs to start_job"
        )
        return view.model_copy(update={"notes": (*view.notes, note)})


class StoppingService:
    """Stops the GPU's bill, and says that the disk's goes on."""

    def __init__(
        self,
        *,
        journal: Journal,
        watch: AccountWatch,
        views: WatchService,
        states: StateChanger,
        guard: Guard,
        platform: Platform,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._watch = watch
        self._views = views
        self._states = states
        self._guard = guard
        self._platform = platform
        self._clock = clock

    async def stop(self, target: str | int, *, acknowledge: tuple[str, ...] = ()) -> RunView:
        """Stop one instance.

        Raises:
            RuleViolation: VAST1 was not acknowledged.
        """
        record = find_run(self._journal, target)
        instance = (await self._watch.look(instance_of(record))).instance
        if instance is None:
            raise WrongPhase(
                f"the platform does not show instance {record.instance_id}", effect="The instance was not stopped."
            )
        facts = StopFacts(
            instance=instance,
            platform=self._platform,
            now=self._clock.now(),
            results_home=record.phase is RunPhase.PROVEN,
            unsaved_bytes=None,
        )
        self._guard.enforce(
            Stage.STOP, facts, effect="The instance was not stopped.", lease=record.lease.id, acknowledged=acknowledge
        )
        await self._states.change(record, "stopped")
        return (await self._views.status(record.lease.id))[0]
