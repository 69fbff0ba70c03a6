"""The composition root: only here are adapters made."""

from pathlib import Path

from remote_gpu_trainer import bundled
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.database.file import Database, private_folder
from remote_gpu_trainer.journal.store import SqliteJournal
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.rules.platform import parse_profile
from remote_gpu_trainer.secretstore import SecretStore
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.services.caps import Caps
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.ending import Ending
from remote_gpu_trainer.services.guard import Guard
from remote_gpu_trainer.services.homeward import Homeward
from remote_gpu_trainer.services.hosts import HostAccess
from remote_gpu_trainer.services.jobs import JobService
from remote_gpu_trainer.services.layout import layout_of
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.night import NightWatch
from remote_gpu_trainer.services.offers import OfferService
from remote_gpu_trainer.services.planning import Planner
from remote_gpu_trainer.services.pull import ProofService, PullService
from remote_gpu_trainer.services.reconcile import Reconciler
from remote_gpu_trainer.services.reminding import ReminderService
from remote_gpu_trainer.services.rent import RentService
from remote_gpu_trainer.services.renting import RentAsking
from remote_gpu_trainer.services.resume import ResumeService, StateChanger, StoppingService
from remote_gpu_trainer.services.sight import Looker
from remote_gpu_trainer.services.spend import SpendService
from remote_gpu_trainer.services.standing import StandingService
from remote_gpu_trainer.services.teardown import TeardownService
from remote_gpu_trainer.services.watch import WatchService
from remote_gpu_trainer.settings import Settings
from remote_gpu_trainer.ssh.connector import ParamikoConnector
from remote_gpu_trainer.storage import BucketUrl, S3Store
from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.verify.fresh import FreshCopies

JOURNAL_FILE = "journal.sqlite"
NIGHT_LOCK = "night.lock"
HOMEWARD_LOCK = "homeward.lock"


def journal_file(home: Path) -> Path:
    """Where the journal of a home lies."""
    return home / JOURNAL_FILE


def compose(settings: Settings, *, clock: Clock | None = None) -> Services:
    """Make every adapter and service. Nothing is asked of the platform yet.

    Raises:
        ConfigError: no key, or a damaged installation.
        JournalError: the journal cannot be opened.
    """
    clock = clock or SystemClock()
    policy, home = settings.policy, settings.home
    platform = parse_profile(bundled.read_text("profiles/vastai.md"))
    market = VastClient(settings.base_url, settings.require_key(), clock=clock)
    private_folder(home)
    database = Database(journal_file(home))
    journal = SqliteJournal(database, clock=clock)
    approvals = SqliteApprovalBook(database, clock=clock)
    connector = ParamikoConnector(home, clock=clock)
    ledger = Ledger(journal, clock)
    watch = AccountWatch(market, journal)
    reconciler = Reconciler(watch, journal, ledger, clock)
    layout = layout_of(platform)
    hosts = HostAccess(market, watch, connector, layout)
    buckets = Buckets(lambda url: S3Store(BucketUrl.parse(url)), clock)
    states = StateChanger(market, journal)
    guard = Guard(journal, policy)
    secret_store = SecretStore(settings.secrets)
    caps = Caps(policy, journal, ledger, clock)
    reminding = ReminderService(journal=journal, approvals=approvals, clock=clock)
    views = WatchService(
        watch=watch,
        journal=journal,
        ledger=ledger,
        reconciler=reconciler,
        hosts=hosts,
        reminding=reminding,
        policy=policy,
        clock=clock,
    )
    rent = RentService(
        market=market,
        journal=journal,
        watch=watch,
        reconciler=reconciler,
        guard=guard,
        ledger=ledger,
        caps=caps,
        asking=RentAsking(journal=journal, approvals=approvals, policy=policy, clock=clock),
        approvals=approvals,
        connector=connector,
        policy=policy,
        platform=platform,
        secrets=secret_store,
        clock=clock,
    )

    fresh = FreshCopies()
    standing = StandingService(journal=journal, approvals=approvals, ledger=ledger, policy=policy, clock=clock)
    pull = PullService(
        journal=journal,
        hosts=hosts,
        buckets=buckets,
        guard=guard,
        ledger=ledger,
        policy=policy,
        results=settings.results,
        clock=clock,
        fresh=fresh,
    )
    proof = ProofService(journal=journal, clock=clock, fresh=fresh, policy=policy)
    looker = Looker(journal=journal, hosts=hosts, buckets=buckets, ledger=ledger, policy=policy, clock=clock)
    planner = Planner(market=market, journal=journal, ledger=ledger, policy=policy, clock=clock)
    teardown = TeardownService(
        journal=journal,
        approvals=approvals,
        looker=looker,
        planner=planner,
        ending=Ending(market=market, journal=journal, watch=watch, ledger=ledger, home=home, clock=clock),
        standing=standing,
        states=states,
        policy=policy,
        clock=clock,
    )

    async def aclose() -> None:
        await market.aclose()
        database.close()

    return Services(
        settings=settings,
        market=market,
        journal=journal,
        approvals=approvals,
        guard=guard,
        secrets=secret_store,
        layout=layout,
        offers=OfferService(market, policy),
        rent=rent,
        watch=views,
        jobs=JobService(
            market=market, journal=journal, hosts=hosts, guard=guard, policy=policy, platform=platform, clock=clock
        ),
        resume=ResumeService(
            market=market,
            journal=journal,
            watch=watch,
            views=views,
            states=states,
            rent=rent,
            guard=guard,
            ledger=ledger,
            policy=policy,
            clock=clock,
        ),
        stopping=StoppingService(
            journal=journal, watch=watch, views=views, states=states, guard=guard, platform=platform, clock=clock
        ),
        pull=pull,
        proof=proof,
        teardown=teardown,
        standing=standing,
        homeward=Homeward(journal=journal, views=views, pull=pull, proof=proof, clock=clock, lock=home / HOMEWARD_LOCK),
        night=NightWatch(
            journal=journal,
            standing=standing,
            teardown=teardown,
            looker=looker,
            planner=planner,
            clock=clock,
            lock=home / NIGHT_LOCK,
        ),
        spend=SpendService(
            market=market,
            journal=journal,
            watch=watch,
            reconciler=reconciler,
            ledger=ledger,
            caps=caps,
            reminding=reminding,
            policy=policy,
            clock=clock,
        ),
        reconcile=reconciler,
        aclose=aclose,
    )
