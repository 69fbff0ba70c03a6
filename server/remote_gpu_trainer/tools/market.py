"""Finding an offer and renting it."""

from dataclasses import dataclass
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import Field

from remote_gpu_trainer.approval.elicitation import question
from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.offers import JobShape, OfferQuery, RentalType
from remote_gpu_trainer.domain.plans import RentPlan
from remote_gpu_trainer.domain.units import GiB, UsdPerHour
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.renting import NOT_RENTED, HandedOver, RentRequest, required
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.consent import (
    NotAsked,
    Said,
    TypedName,
    both_or_neither,
    demand_agreement,
    may_ask,
    opened_page,
    was_asked,
)
from remote_gpu_trainer.tools.parameters import (
    Acknowledge,
    ApprovalIdGiven,
    Bid,
    CheckpointMinutes,
    DiskGiB,
    Gib,
    Hours,
    Rental,
    Resumes,
    TokenGiven,
)
from remote_gpu_trainer.tools.refusals import told
from remote_gpu_trainer.tools.shapes import made


@dataclass(frozen=True)
class Order:
    """What is to be rented, and what a person has to agree to first, if anything."""

    request: RentRequest
    asked: ApprovalRequest | None


def tools(services: Services) -> list[Tool]:
    """Make ``search_offers`` and ``create_instance``."""

    async def search_offers(
        hours: Hours,
        disk_gib: DiskGiB,
        gpu_names: Annotated[list[str], Field(description='e.g. ["RTX 4090"]; empty: any')] = [],  # noqa: B006 - read only
        num_gpus: Annotated[int, Field(ge=1, le=16)] = 1,
        upload_gib: Gib = 1.0,
        download_gib: Gib = 1.0,
        rental: Rental = "on-demand",
        bid_usd_per_hour: Bid = None,
        max_usd_per_hour: float | None = None,
        min_gpu_ram_gib: float | None = None,
        min_reliability: Annotated[float, Field(ge=0, le=1)] = 0.98,
        min_cuda: float | None = None,
        verified: bool = True,
        image: Annotated[str | None, Field(description="Checked against each host's CUDA")] = None,
        countries: list[str] = [],  # noqa: B006 - read only
        limit: Annotated[int, Field(ge=1, le=32)] = 8,
    ) -> answers.Offers:
        query = made(
            OfferQuery,
            "Nothing was searched.",
            rental=RentalType(rental),
            gpu_names=tuple(gpu_names),
            num_gpus=num_gpus,
            min_gpu_ram_gib=min_gpu_ram_gib,
            max_usd_per_hour=max_usd_per_hour,
            min_reliability=min_reliability,
            verified=verified,
            min_cuda=min_cuda,
            min_disk_gib=GiB(disk_gib),
            countries=tuple(countries),
        )
        shape = _shape(hours, disk_gib, upload_gib, download_gib, "Nothing was searched.")
        bid = None if bid_usd_per_hour is None else UsdPerHour(bid_usd_per_hour)
        return answers.offers(await services.offers.search(query, shape, image=image, bid=bid, keep=limit))

    @told
    async def the_order(
        name: str,
        offer_id: int,
        image: str,
        hours: float,
        disk_gib: float,
        rental: str,
        bid_usd_per_hour: float | None,
        checkpoint_minutes: float | None,
        resumes: bool | None,
        upload_gib: float,
        download_gib: float,
        checkpoint_gib: float | None,
        kept_checkpoints: int,
        volume_id: int | None,
        ports: list[str],
        env: dict[str, str],
        secret_env: list[str],
        acknowledge: list[str],
        approval_id: str | None,
        token: str | None,
    ) -> Order:
        both_or_neither(approval_id, token, NOT_RENTED)
        if rental == "on-demand" and bid_usd_per_hour is not None:
            raise InvalidRequest(
                "a bid on an on-demand rental",
                next_step="leave bid_usd_per_hour out, or rent interruptible",
                effect=NOT_RENTED,
            )
        request = made(
            RentRequest,
            NOT_RENTED,
            name=name,
            offer_id=offer_id,
            image=image,
            shape=_shape(hours, disk_gib, upload_gib, download_gib, NOT_RENTED),
            rental=RentalType(rental),
            bid_usd_per_hour=bid_usd_per_hour,
            checkpoint_minutes=checkpoint_minutes,
            resumes=resumes,
            ports=tuple(ports),
            env=env,
            secret_names=tuple(secret_env),
            acknowledge=tuple(acknowledge),
            checkpoint_gib=checkpoint_gib,
            kept_checkpoints=kept_checkpoints,
            volume_id=volume_id,
        )
        return Order(request, None if token is not None else await services.rent.ask(request))

    def level(asked: ApprovalRequest) -> AssuranceLevel:
        price = asked.plan.usd_per_hour if isinstance(asked.plan, RentPlan) else None
        return services.settings.policy.level_for("rent", price)

    @told
    async def the_person(ctx: Context, order: Annotated[Order, Resolve(the_order)]) -> Elicit[TypedName] | NotAsked:
        asked = order.asked
        return Elicit(question(asked), TypedName) if asked and may_ask(ctx, asked, level(asked)) else NotAsked()

    async def create_instance(
        ctx: Context,
        name: Annotated[str, Field(description="Short name for the run, e.g. digits")],
        offer_id: int,
        image: Annotated[str, Field(description="With an explicit tag")],
        hours: Hours,
        disk_gib: DiskGiB,
        order: Annotated[Order, Resolve(the_order)],
        said: Annotated[Said, Resolve(the_person)],
        rental: Rental = "on-demand",
        bid_usd_per_hour: Bid = None,
        checkpoint_minutes: CheckpointMinutes = None,
        resumes: Resumes = None,
        upload_gib: Gib = 1.0,
        download_gib: Gib = 1.0,
        checkpoint_gib: Annotated[float | None, Field(description="One checkpoint; sizes the disk", ge=0)] = None,
        kept_checkpoints: Annotated[int, Field(ge=1)] = 2,
        volume_id: int | None = None,
        ports: list[str] = [],  # noqa: B006 - read only
        env: Annotated[dict[str, str], Field(description="No secrets here")] = {},  # noqa: B006 - read only
        secret_env: Annotated[
            list[str], Field(description="Names; the server holds the values (RGT_SECRET_<NAME>, keyring)")
        ] = [],  # noqa: B006 - read only
        acknowledge: Acknowledge = [],  # noqa: B006 - read only
        approval_id: ApprovalIdGiven = None,
        token: TokenGiven = None,
    ) -> answers.Runs:
        wanted, asked = order.request, order.asked
        if asked is not None and was_asked(said):
            demand_agreement(services, asked, said)
            record = await services.rent.agreed(wanted, asked.id, Channel.ELICITATION)
        elif asked is not None:
            raise required(asked, opened=await opened_page(ctx, services, asked, level(asked)))
        else:
            handed = None if approval_id is None or token is None else HandedOver(ApprovalId(approval_id), token)
            record = await services.rent.rent(wanted, handed)
        told_of = services.guard.said(Stage.RENT, record.lease.id)
        return answers.runs(await services.watch.status(record.lease.id), told_of)

    return [
        Tool.from_function(
            told(search_offers),
            title="Search offers",
            description=(
                "Offers of vast.ai, ranked by what the whole job would cost (GPU hours, disk, bytes both ways), with "
                "the rules that speak against each. Safe defaults: verified, reliable, a direct port."
            ),
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
        Tool.from_function(
            told(create_instance),
            title="Rent an instance",
            description=(
                "Rents one offer, exactly once, and starts billing. Tell the person the price first. When the answer "
                "is lost, call poll_status; never call this again for the same run."
            ),
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
            ),
        ),
    ]


def _shape(hours: float, disk_gib: float, upload_gib: float, download_gib: float, effect: str) -> JobShape:
    return made(JobShape, effect, hours=hours, disk_gib=disk_gib, upload_gib=upload_gib, download_gib=download_gib)
