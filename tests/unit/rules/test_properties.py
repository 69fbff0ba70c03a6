"""Over any valid facts: no rule raises, and nothing unknown is taken for fine."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.instances import Instance, InstancePhase
from remote_gpu_trainer.domain.offers import Offer, RentalType
from remote_gpu_trainer.rules import facts as F
from remote_gpu_trainer.rules.base import Facts
from remote_gpu_trainer.rules.diagnosis import diagnose
from remote_gpu_trainer.rules.registry import check
from tests.unit.rules import samples as s

money = st.floats(min_value=0, max_value=1e4)
maybe_money = st.none() | money
times = st.none() | st.integers(-(10**7), 10**7).map(s.ago)
text = st.text(max_size=60)

offers: st.SearchStrategy[Offer] = st.builds(
    s.offer,
    rental=st.sampled_from(RentalType),
    gpu_usd_per_hour=money,
    min_bid_usd_per_hour=maybe_money,
    storage_usd_per_gib_month=money,
    egress_usd_per_gb=money,
    ingress_usd_per_gb=money,
    inet_up_mbps=maybe_money,
    inet_down_mbps=maybe_money,
    reliability=st.none() | st.floats(0, 1),
    verified=st.booleans(),
    direct_ports=st.integers(0, 1000),
    cuda_max=st.none() | st.floats(8, 20),
    disk_gib=money,
    remaining_hours=maybe_money,
)
shapes = st.builds(
    s.shape,
    hours=st.floats(0.01, 2000),
    disk_gib=st.floats(10, 1e5),
    upload_gib=money,
    download_gib=money,
    image_gib=money,
)
instances: st.SearchStrategy[Instance] = st.builds(
    s.instance,
    phase=st.sampled_from(InstancePhase),
    rental=st.sampled_from(RentalType),
    ends_at=times,
    started_at=times,
    disk_gib=maybe_money,
    storage_usd_per_gib_month=maybe_money,
    egress_usd_per_gb=maybe_money,
    bid_usd_per_hour=maybe_money,
)
flags = st.booleans()
maybe = st.none() | flags

FACTS: st.SearchStrategy[Facts] = st.one_of(
    st.builds(s.search, offer=offers, shape=shapes, image=st.none() | text),
    st.builds(
        s.rent,
        offer=offers,
        shape=shapes,
        image=text,
        bid=maybe_money,
        direct=flags,
        cancel_unavailable=flags,
        checkpoint_minutes=maybe_money,
        resumes=maybe,
        onstart=st.text(max_size=5000),
        env=st.dictionaries(text, text, max_size=3),
        ports=st.lists(text, max_size=70).map(tuple),
        account=st.none() | st.floats(-100, 100).map(s.account),
        public_key=st.none() | text,
        key_registered=maybe,
        searched_as=st.none() | st.sampled_from(RentalType),
        disk_need_gib=maybe_money,
        volume_machine=st.none() | st.integers(),
    ),
    st.builds(
        s.push,
        instance=instances,
        destination=text,
        files=st.lists(st.builds(F.PushFile, path=text, size=st.integers(0, 2**62), crlf_script=flags)).map(tuple),
        free_bytes=st.none() | st.integers(0, 2**62),
        free_inodes=st.none() | st.integers(0, 2**62),
    ),
    st.builds(
        s.start,
        instance=instances,
        job=st.builds(s.job, argv=st.lists(text, max_size=4).map(tuple), resumes=flags, checkpoint_minutes=maybe_money),
        hours=maybe_money,
        box=st.none()
        | st.builds(
            s.box,
            gpus=st.none() | st.integers(0, 16),
            driver_cuda=maybe_money,
            framework_cuda=maybe_money,
            framework_sees_gpu=maybe,
        ),
        checkpoint_bytes=st.none() | st.integers(0, 2**62),
        kept_checkpoints=st.none() | st.integers(0, 1000),
        atomic_checkpoints=maybe,
    ),
    st.builds(
        s.poll,
        instance=instances,
        phase_since=times,
        wait_s=maybe_money,
        start_asked_at=times,
        stop_asked_at=times,
        account=st.none() | st.floats(-100, 100).map(s.account),
        burn_usd_per_hour=maybe_money,
        boot_failed=maybe,
        gpu_works=maybe,
        image_gib=maybe_money,
    ),
    st.builds(
        s.resume,
        instance=st.none() | instances,
        method=st.sampled_from(["wait", "restart", "rebid", "relaunch"]),
        phase_since=times,
        start_asked_at=times,
        off_box_checkpoint_at=times,
    ),
    st.builds(s.copy, instance=instances, bytes=st.none() | st.integers(0, 2**62)),
    st.builds(s.stop, instance=instances, results_home=maybe, unsaved_bytes=st.none() | st.integers(0, 2**62)),
    st.builds(
        s.destroy,
        instance=instances,
        reports=st.sampled_from([(), (s.report(),), (s.report(unmet=("step < 10",)), s.report())]),
        matches_machine=maybe,
        copy_failed=flags,
        held_work=maybe,
        readable=flags,
        volumes=st.none() | st.just((s.volume(usd_per_hour=None),)),
    ),
    st.builds(s.spend, instances=st.lists(instances, max_size=3).map(tuple), burn_usd_per_hour=maybe_money),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(facts=FACTS)
def test_no_rule_raises_on_any_valid_facts_and_each_says_what_it_saw(facts: Facts) -> None:
    for finding in check(facts.stage, facts):
        assert finding.seen.strip()
        assert len(finding.seen) < 600
    if isinstance(facts, F.PollFacts):
        assert diagnose(facts).next_step


UNKNOWN: list[tuple[str, Any]] = [
    ("VAST7", s.rent(offer=s.offer(reliability=None))),
    ("VAST5", s.rent(offer=s.offer(cuda_max=None))),
    ("VAST13", s.rent(offer=s.offer(inet_down_mbps=None))),
    ("VAST34", s.rent(account=None)),
    ("VAST34", s.rent(offer=s.offer(remaining_hours=None))),
    ("VAST36", s.rent(key_registered=None)),
    ("VAST4", s.bid(checkpoint_minutes=None)),
    ("VAST4", s.bid(resumes=None)),
    ("VAST9", s.copy(instance=s.instance(egress_usd_per_gb=None))),
    ("VAST8", s.copy(route=Route.PROXY_SSH, bytes=None)),
    ("VAST1", s.stop(instance=s.instance(storage_usd_per_gib_month=None))),
    ("VAST2", s.destroy(matches_machine=None)),
    ("VAST27", s.destroy(volumes=None)),
    ("VAST24", s.spend(account=None)),
    ("U31", s.start(box=None)),
]


@pytest.mark.parametrize(("rule_id", "facts"), UNKNOWN)
def test_a_missing_fact_is_a_finding_and_not_a_default(rule_id: str, facts: Facts) -> None:
    assert rule_id in [finding.rule for finding in check(facts.stage, facts)]
