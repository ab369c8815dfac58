"""Which function performs which effect, which answers which message, and which machine moves which noun."""

from market.dialogue import (
    BidMade,
    BookDigest,
    Cancel,
    Commit,
    Extend,
    Finish,
    GetFile,
    Logs,
    Pay,
    Propose,
    RefundAsked,
    Release,
    Renew,
    RunCode,
    Samples,
    Statement,
)
from market.job_events import DeployBuild, PlaceJob, WithdrawOrder
from market.jobs import Job
from market.jobs import step as step_job
from market.leases import Lease
from market.machines import Event, Step
from market.messages import Kind
from market.provision import step as step_provision
from market.provision_events import (
    AwaitFunding,
    CleanUp,
    ForgetLease,
    PrepareWorkload,
    SendReceipt,
    StartWorkload,
    StopWorkload,
    WatchWorkload,
)
from market.runs import DispatchRun, Run, journalled
from market.runs import step as step_run
from market.service_events import LaunchPod, RetirePod
from market.service_rules import step as step_service
from market.services import Service
from market.tenancy import step as step_tenancy
from market.tenancy_events import FetchOutputs, FundChannel, SendCancel, SendCommit, SendExtension, SendPayment
from node.actions.book import Book
from node.actions.deploying import Deploying
from node.actions.log_keeping import LogKeeping
from node.actions.peers import Peers
from node.actions.placing import Placing
from node.actions.pods import Pods
from node.actions.provider_answers import ProviderAnswers
from node.actions.provisioning import Provisioning
from node.actions.runner import Runner
from node.actions.sandbox_host import SandboxHost
from node.actions.selling import Selling
from node.actions.series import Series
from node.actions.stores import Stores
from node.actions.tenants import Tenants
from node.actions.wallets import Wallets
from node.engine import Machine, Performer


def _step_lease(lease: Lease, event: Event, now: int) -> Step[Lease]:
    step = step_provision if lease.side == "provider" else step_tenancy
    return step(lease, event, now)


MACHINES = {
    "Job": Machine(Job, step_job),
    "Service": Machine(Service, step_service),
    "Lease": Machine(Lease, _step_lease),
    "Run": Machine(Run, step_run, journalled),
}


def requester_performers(
    placing: Placing, tenants: Tenants, runner: Runner, pods: Pods, deploying: Deploying
) -> tuple[Performer, ...]:
    """Who performs the requester's effects."""
    return (
        Performer(DeployBuild, "Job", deploying.deploy),
        Performer(PlaceJob, "Job", placing.place),
        Performer(WithdrawOrder, "Job", placing.withdraw),
        Performer(LaunchPod, "Service", pods.launch),
        Performer(RetirePod, "Service", pods.retire),
        Performer(SendCommit, "Lease", tenants.commit),
        Performer(FundChannel, "Lease", tenants.fund),
        Performer(SendExtension, "Lease", tenants.extend),
        Performer(SendCancel, "Lease", tenants.cancel),
        Performer(FetchOutputs, "Lease", tenants.fetch_outputs),
        Performer(SendPayment, "Lease", tenants.pay),
        Performer(DispatchRun, "Run", runner.dispatch),
    )


def provider_performers(provisioning: Provisioning) -> tuple[Performer, ...]:
    """Who performs the provider's effects."""
    return (
        Performer(AwaitFunding, "Lease", provisioning.await_funding),
        Performer(PrepareWorkload, "Lease", provisioning.prepare),
        Performer(StartWorkload, "Lease", provisioning.start),
        Performer(WatchWorkload, "Lease", provisioning.watch),
        Performer(StopWorkload, "Lease", provisioning.stop),
        Performer(SendReceipt, "Lease", provisioning.send_receipt),
        Performer(CleanUp, "Lease", provisioning.clean_up),
        Performer(ForgetLease, "Lease", provisioning.forget),
    )


def answer_as_peer(peers: Peers, book: Book, stores: Stores, wallets: Wallets) -> None:
    """What every node answers."""
    peers.on(Kind.BOOK, BookDigest, book.answer_digest)
    peers.on(Kind.FILE, GetFile, stores.answer)
    peers.on(Kind.REFUND, RefundAsked, wallets.release)


def answer_as_requester(peers: Peers, placing: Placing, tenants: Tenants, logs: LogKeeping, series: Series) -> None:
    """What providers say to a requester."""
    peers.on(Kind.BID, BidMade, placing.take_bid)
    peers.on(Kind.STATEMENT, Statement, tenants.take_statement)
    peers.on(Kind.FINISH, Finish, tenants.take_receipt)
    peers.on(Kind.LOGS, Logs, logs.take)
    peers.on(Kind.SAMPLES, Samples, series.take)


def answer_as_provider(peers: Peers, selling: Selling, answers: ProviderAnswers, sandboxes: SandboxHost | None) -> None:
    """What requesters say to a provider."""
    peers.on(Kind.PROPOSE, Propose, selling.take_proposal)
    peers.on(Kind.COMMIT, Commit, answers.take_commit)
    peers.on(Kind.RELEASE, Release, answers.take_release)
    peers.on(Kind.RENEW, Renew, answers.take_renewal)
    peers.on(Kind.EXTEND, Extend, answers.take_extension)
    peers.on(Kind.CANCEL, Cancel, answers.take_cancel)
    peers.on(Kind.PAY, Pay, answers.take_payment)
    if sandboxes is not None:
        peers.on(Kind.RUN, RunCode, sandboxes.answer)
