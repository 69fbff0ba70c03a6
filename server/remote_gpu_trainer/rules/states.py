"""Rules over waiting, and over what a state does not mean."""

from remote_gpu_trainer.domain.instances import TERMINAL_FOR_WAITING
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import DestroyFacts, PollFacts, ResumeFacts
from remote_gpu_trainer.rules.poll import GPU_TAKEN_AFTER, waiting_for_gpu
from remote_gpu_trainer.rules.stop import HELD_AT_REST


def _awaited(facts: PollFacts) -> Trip | None:
    if facts.instance.phase not in TERMINAL_FOR_WAITING or facts.wait_s == 0:
        return None
    started = waiting_for_gpu(facts.instance.phase, facts.phase_since, facts.start_asked_at, facts.now)
    if started is not None and started <= GPU_TAKEN_AFTER:
        return None
    return Trip(f"phase {facts.instance.phase} does not turn into running by waiting")


VAST17 = Rule(
    id="VAST17",
    name="terminal-state-awaited",
    severity=Severity.WARN,
    symptom="A loop polls for hours for 'running', and the disk bills meanwhile.",
    cause="unknown, offline, exited and stopped do not turn into running by themselves.",
    example="A monitor that waits for running sleeps through a night over an out-bid instance.",
    fix="act on the diagnosis of poll_status: resume_run, copy_out or another offer",
    unless="the instance is on its way (created, loading, scheduling, rebooting)",
    source="official agent plugin 1.9.1, 2026-08; narrowed for exited, see VAST28",
    checks=on(_awaited, PollFacts),
)


def _taken_for_lost(facts: DestroyFacts) -> Trip | None:
    if facts.instance.phase not in HELD_AT_REST or not facts.readable or facts.held_work is False:
        return None
    if any(report.passed for report in facts.reports):
        return None
    return Trip(f"phase {facts.instance.phase} keeps its disk, and nothing of it is proven off the box")


def _left_behind(facts: ResumeFacts) -> Trip | None:
    if facts.instance is None or facts.method != "relaunch" or facts.off_box_checkpoint_at is not None:
        return None
    if facts.instance.phase not in HELD_AT_REST:
        return None
    return Trip(
        f"a relaunch starts from nothing: no checkpoint is off the box, and the {facts.instance.phase} instance may "
        "hold one",
        Severity.ACKNOWLEDGE,
        "resume_run method=restart, or copy_out from it first",
    )


VAST28 = Rule(
    id="VAST28",
    name="exited-taken-for-lost",
    severity=Severity.BLOCK,
    symptom="A recoverable instance is destroyed because its status is exited.",
    cause="The official guidance lists exited among the states that never run again and are to be destroyed. But an "
    "instance that was cleanly stopped, and one that was out-bid, report exited too, with the disk intact.",
    example="Out-bid at step 40,000, status exited: its disk holds the only checkpoint.",
    fix="find out first whether it was out-bid, stopped on purpose, ended by date or credit, or crashed; then "
    "resume_run or copy_out",
    unless="a verified copy is off the box, or nothing of ours was ever on it",
    source="official agent plugin 1.9.1, 2026-08, against live fixtures of others, 2026: conflict, the careful reading",
    waivable=False,
    checks=(*on(_taken_for_lost, DestroyFacts), *on(_left_behind, ResumeFacts)),
)


def _without_end(facts: PollFacts) -> Trip | None:
    return Trip("the wait has no end") if facts.wait_s is None else None


VAST37 = Rule(
    id="VAST37",
    name="poll-without-end",
    severity=Severity.BLOCK,
    symptom="A script polls for ever while disk and bandwidth bill.",
    cause="A loop over the status without a limit never ends when the state that it waits for cannot come.",
    example="while status != running: sleep 10, against a host that is offline.",
    fix="bound each wait, and act on what poll_status says at its end",
    unless="the wait has a limit",
    source="seen on the platform, 2026-06",
    checks=on(_without_end, PollFacts),
)

VAST43 = Rule(
    id="VAST43",
    name="proxy-port-assumed",
    severity=Severity.WARN,
    symptom="SSH through the proxy is refused or reaches another instance's greeting.",
    cause="ssh_port is the proxy's port. By the official CLI it is one higher where the run type holds jupyter; its "
    "own SDK and an issue say otherwise. ports can be null for a while, and one reboot cures a stuck tunnel.",
    example="Port 10412 is refused, 10413 answers, on a jupyter-type instance.",
    fix="probe both candidates and check the host key; prefer the direct endpoint",
    unless="the endpoint is the direct one",
    source="official CLI against SDK 1.9.1, 2026-08: conflict, both probed",
    unchecked="only connecting tells; the SSH transport probes the candidates",
)
