"""The composition root: only here are adapters made."""

from pathlib import Path

from remote_gpu_trainer import bundled
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.database.file import Database, private_folder
from remote_gpu_trainer.journal.store import SqliteJournal
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.rules.platform import parse_profile
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.services.caps import Caps
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.hosts import HostAccess
from remote_gpu_trainer.services.jobs import JobService
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.offers import OfferService
from remote_gpu_trainer.services.pull import ProofService, PullService
from remote_gpu_trainer.services.reconcile import Reconciler
from remote_gpu_trainer.services.rent import RentService
from remote_gpu_trainer.services.resume import ResumeService, StateChanger, StoppingService
from remote_gpu_trainer.services.sight import Looker
from remote_gpu_trainer.services.spend import SpendService
from remote_gpu_trainer.services.teardown import TeardownService
from remote_gpu_trainer.services.watch import WatchService
from remote_gpu_trainer.settings import Settings
from remote_gpu_trainer.ssh.connector import ParamikoConnector
from remote_gpu_trainer.storage import BucketUrl, S3Store
from remote_gpu_trainer.vastai.client import VastClient

JOURNAL_FILE = "journal.sqlite"


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
    hosts = HostAccess(market, watch, connector)
    buckets = Buckets(lambda url: S3Store(BucketUrl.parse(url)), clock)
    states = StateChanger(market, journal)
    caps = Caps(policy, journal, ledger, clock)
    views = WatchService(
        watch=watch, journal=journal, ledger=ledger, reconciler=reconciler, hosts=hosts, policy=policy, clock=clock
    )
    rent = RentService(
        market=market,
        journal=journal,
        watch=watch,
        reconciler=reconciler,
        ledger=ledger,
        caps=caps,
        connector=connector,
        policy=policy,
        platform=platform,
        secret_values=settings.secrets,
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
        offers=OfferService(market, policy),
        rent=rent,
        watch=views,
        jobs=JobService(market=market, journal=journal, hosts=hosts, policy=policy, platform=platform, clock=clock),
        resume=ResumeService(
            market=market,
            journal=journal,
            watch=watch,
            views=views,
            states=states,
            rent=rent,
            ledger=ledger,
            policy=policy,
            clock=clock,
        ),
        stopping=StoppingService(
            journal=journal, watch=watch, views=views, states=states, policy=policy, platform=platform, clock=clock
        ),
        pull=PullService(
            journal=journal,
            hosts=hosts,
            buckets=buckets,
            ledger=ledger,
            policy=policy,
            results=settings.results,
            clock=clock,
        ),
        proof=ProofService(journal=journal, clock=clock),
        teardown=TeardownService(
            market=market,
            journal=journal,
            approvals=approvals,
            watch=watch,
            looker=Looker(journal=journal, hosts=hosts, buckets=buckets, ledger=ledger, policy=policy),
            states=states,
            ledger=ledger,
            policy=policy,
            home=home,
            clock=clock,
        ),
        spend=SpendService(
            market=market,
            journal=journal,
            watch=watch,
            reconciler=reconciler,
            ledger=ledger,
            caps=caps,
            policy=policy,
            clock=clock,
        ),
        reconcile=reconciler,
        aclose=aclose,
    )
