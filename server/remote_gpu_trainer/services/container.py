"""All services of one server, wired; built in ``app.compose``."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from remote_gpu_trainer.ports import ApprovalBook, Journal, Marketplace, PageDoor
from remote_gpu_trainer.secretstore import SecretStore
from remote_gpu_trainer.services.guard import Guard
from remote_gpu_trainer.services.homeward import Homeward
from remote_gpu_trainer.services.jobs import JobService
from remote_gpu_trainer.services.layout import Layout
from remote_gpu_trainer.services.night import NightWatch
from remote_gpu_trainer.services.offers import OfferService
from remote_gpu_trainer.services.pull import ProofService, PullService
from remote_gpu_trainer.services.reconcile import Reconciler
from remote_gpu_trainer.services.rent import RentService
from remote_gpu_trainer.services.resume import ResumeService, StoppingService
from remote_gpu_trainer.services.spend import SpendService
from remote_gpu_trainer.services.standing import StandingService
from remote_gpu_trainer.services.teardown import TeardownService
from remote_gpu_trainer.services.watch import WatchService
from remote_gpu_trainer.settings import Settings


@dataclass(frozen=True)
class Services:
    """One of each."""

    settings: Settings
    market: Marketplace
    journal: Journal
    approvals: ApprovalBook
    guard: Guard
    secrets: SecretStore
    layout: Layout
    offers: OfferService
    rent: RentService
    watch: WatchService
    jobs: JobService
    resume: ResumeService
    stopping: StoppingService
    pull: PullService
    proof: ProofService
    teardown: TeardownService
    standing: StandingService
    homeward: Homeward
    night: NightWatch
    spend: SpendService
    reconcile: Reconciler
    aclose: Callable[[], Awaitable[None]]
    """Closes connections and files; safe to repeat."""
    door: PageDoor | None = None
    """Where clients that open addresses for the person are sent; None where no page is served."""
