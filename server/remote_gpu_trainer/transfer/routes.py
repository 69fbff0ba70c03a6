"""How bytes travel between a machine and home, decided by what is known of both."""

from collections.abc import Collection

from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.instances import EndpointKind, Instance, InstancePhase
from remote_gpu_trainer.domain.units import GB
from remote_gpu_trainer.errors import RouteRefused
from remote_gpu_trainer.rules.registry import named
from remote_gpu_trainer.rules.rent import PROXY_LIMIT_BYTES

RULE = "VAST8"
NOTHING_MOVED = "Nothing was copied in either direction, and the machine is as it was."
_HELD = {InstancePhase.STOPPED, InstancePhase.STOPPING, InstancePhase.PREEMPTED, InstancePhase.EXITED}
_COMING = {InstancePhase.CREATED, InstancePhase.LOADING, InstancePhase.SCHEDULING, InstancePhase.REBOOTING}


def choose(
    instance: Instance, *, bytes: int | None, acknowledged: Collection[str], home: bool = False
) -> tuple[Route, str]:
    """The route for a copy in either direction, and why it is this one.

    Direct SSH is taken wherever the machine has it. The platform's proxy is throttled and meant for up to 1 GB
    (docs.vast.ai data-movement, 2026-06); beyond that, or for an unknown size, it is taken only when acknowledged.

    Args:
        instance: As it is now; endpoints of an earlier look may lead nowhere (VAST6).
        bytes: What is to be moved; None when nobody has counted it.
        acknowledged: Ids of rules that the caller accepts.
        home: The bytes come from the machine; then the disk of one that does not run can be read over its rsync.

    Raises:
        InvalidRequest: an acknowledged id names no rule.
        RouteRefused: the machine does not run, has no endpoint, or only the proxy is left for too much.
    """
    if home and instance.phase in _HELD:
        return Route.MACHINE_RSYNC, f"the instance is {instance.phase.value}, so only the machine's own rsync is left"
    if instance.phase is not InstancePhase.RUNNING:
        raise _not_running(instance)
    kinds = {endpoint.kind for endpoint in instance.endpoints}
    if EndpointKind.DIRECT in kinds:
        return Route.DIRECT_SSH, "the machine has a direct SSH port"
    if EndpointKind.PROXY not in kinds:
        raise RouteRefused(
            f"instance {instance.id} runs and reports no SSH endpoint yet",
            next_step="call poll_status until it lists one, then repeat the call",
            effect=NOTHING_MOVED,
        )
    size = "a number of bytes that is not known" if bytes is None else f"{bytes / GB:.2f} GB"
    if bytes is not None and bytes <= PROXY_LIMIT_BYTES:
        return Route.PROXY_SSH, f"there is no direct SSH port, and {size} is within the proxy's 1 GB"
    if RULE in named(acknowledged):
        return Route.PROXY_SSH, f"there is no direct SSH port, and the proxy was acknowledged ({RULE}) for {size}"
    raise RouteRefused(
        f"{RULE}: instance {instance.id} has no direct SSH port, and {size} would go through the platform's proxy, "
        "which is throttled and meant for up to 1 GB",
        next_step=f"repeat the call with acknowledge=['{RULE}'] to take the proxy all the same; or let the machine "
        "move large data to or from a bucket, or rent an offer with direct_ports of at least 1",
        effect=NOTHING_MOVED,
        details={"rule": RULE, "bytes": bytes, "limit_bytes": PROXY_LIMIT_BYTES},
    )


def by_proxy_only(instance: Instance) -> bool:
    """Whether only the platform's proxy leads to a running machine, so that the size must be known first."""
    kinds = {endpoint.kind for endpoint in instance.endpoints}
    return instance.phase is InstancePhase.RUNNING and kinds == {EndpointKind.PROXY}


def _not_running(instance: Instance) -> RouteRefused:
    if instance.phase in _HELD:
        step = (
            "call resume_run, then repeat the call; a machine that does not come back keeps its disk, which the "
            "platform's machine-level copy reaches over rsync (`vastai copy`) without the GPU"
        )
    elif instance.phase in _COMING:
        step = "call poll_status until=running, then repeat the call"
    else:
        step = "call poll_status for the cause; while the host is gone nothing reaches its disk"
    return RouteRefused(
        f"instance {instance.id} is {instance.phase.value}, and SSH reaches only a running one",
        next_step=step,
        effect=NOTHING_MOVED,
        details={"phase": instance.phase.value},
    )
