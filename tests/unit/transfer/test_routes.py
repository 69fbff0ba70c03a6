"""Which way the bytes go, and when none is taken."""

import pytest

from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.ids import InstanceId, MachineId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind, Instance, InstancePhase, RawStatus
from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.errors import InvalidRequest, RouteRefused
from remote_gpu_trainer.transfer.routes import by_proxy_only, choose

GB = 10**9


def instance(*kinds: EndpointKind, phase: InstancePhase = InstancePhase.RUNNING) -> Instance:
    """A rental with these ways to it."""
    nothing = dict.fromkeys(
        (
            "host_id",
            "label",
            "image",
            "started_at",
            "ends_at",
            "gpu_name",
            "num_gpus",
            "gpu_usd_per_hour",
            "usd_per_hour_now",
            "bid_usd_per_hour",
            "disk_gib",
            "storage_usd_per_gib_month",
            "egress_usd_per_gb",
            "ingress_usd_per_gb",
        )
    )
    return Instance.model_validate(
        {
            **nothing,
            "id": InstanceId(7),
            "machine_id": MachineId(8),
            "phase": phase,
            "raw": RawStatus(actual=None, intended=None, current=None, next=None, message=None),
            "rental": next(iter(RentalType)),
            "endpoints": tuple(Endpoint(kind=kind, host="h", port=22) for kind in kinds),
            "ports": {},
        }
    )


def test_direct_is_taken_for_any_size() -> None:
    both = instance(EndpointKind.PROXY, EndpointKind.DIRECT)
    assert choose(both, bytes=None, acknowledged=())[0] is Route.DIRECT_SSH


def test_the_proxy_is_taken_up_to_one_gigabyte() -> None:
    assert choose(instance(EndpointKind.PROXY), bytes=GB, acknowledged=())[0] is Route.PROXY_SSH


@pytest.mark.parametrize("size", [GB + 1, None])
def test_more_or_an_unknown_size_needs_the_rule_acknowledged(size: int | None) -> None:
    with pytest.raises(RouteRefused, match=r"VAST8.*acknowledge=\['VAST8'\].*Nothing was copied"):
        choose(instance(EndpointKind.PROXY), bytes=size, acknowledged=("VAST9",))
    route, reason = choose(instance(EndpointKind.PROXY), bytes=size, acknowledged=("VAST8",))
    assert route is Route.PROXY_SSH
    assert "acknowledged" in reason


def test_an_acknowledgement_counts_however_it_is_written_and_an_unknown_one_is_refused() -> None:
    proxied = instance(EndpointKind.PROXY)
    assert choose(proxied, bytes=None, acknowledged=[" vast8"])[0] is Route.PROXY_SSH
    with pytest.raises(InvalidRequest, match="no rule 'VAST800'"):
        choose(proxied, bytes=None, acknowledged=["VAST800"])


@pytest.mark.parametrize("phase", [phase for phase in InstancePhase if phase is not InstancePhase.RUNNING])
def test_no_machine_that_does_not_run_is_reached_and_the_way_on_is_named(phase: InstancePhase) -> None:
    with pytest.raises(RouteRefused) as refused:
        choose(instance(EndpointKind.DIRECT, phase=phase), bytes=1, acknowledged=("VAST8",))
    held = phase in {InstancePhase.STOPPED, InstancePhase.PREEMPTED}
    assert refused.value.next_step
    assert ("resume_run" in refused.value.next_step) >= held


def test_a_machine_without_endpoint_is_asked_again_later() -> None:
    with pytest.raises(RouteRefused, match="poll_status"):
        choose(instance(), bytes=1, acknowledged=())


@pytest.mark.parametrize("phase", [InstancePhase.STOPPED, InstancePhase.PREEMPTED, InstancePhase.EXITED])
def test_home_from_a_machine_that_does_not_run_goes_over_its_rsync_and_says_why(phase: InstancePhase) -> None:
    route, reason = choose(instance(EndpointKind.DIRECT, phase=phase), bytes=None, acknowledged=(), home=True)
    assert route is Route.MACHINE_RSYNC
    assert phase.value in reason


def test_a_host_that_is_gone_has_no_route_home() -> None:
    with pytest.raises(RouteRefused, match="nothing reaches its disk"):
        choose(instance(phase=InstancePhase.OFFLINE), bytes=None, acknowledged=("VAST8",), home=True)


def test_only_a_running_machine_without_direct_port_has_to_be_measured() -> None:
    assert by_proxy_only(instance(EndpointKind.PROXY))
    assert not by_proxy_only(instance(EndpointKind.PROXY, EndpointKind.DIRECT))
    assert not by_proxy_only(instance(EndpointKind.PROXY, phase=InstancePhase.STOPPED))
