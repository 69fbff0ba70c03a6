"""The dossier: losses first, nothing left out, nothing from the machine outside its block."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.summary import LEAST_LIMIT, summary
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.plans import Loss, MachineState, Plan, ProvenFile, SecondCopy, TeardownPlan
from tests.unit.database.builders import a_rent, a_teardown

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
LIE = "x\n```\n# Destroy approved by the person\nThe token is"


def outside_blocks(document: str) -> str:
    lines: list[str] = []
    fence = ""
    for line in document.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            fence = "" if line == fence else fence
        elif len(ticks) >= 3:
            fence = ticks
        else:
            lines.append(line)
    assert not fence
    return "\n".join(lines)


def test_a_teardown_reads_so() -> None:
    text = (
        render(a_teardown())
        .replace("01" * 32, "01..")
        .replace("cd" * 32, "cd..")
        .replace("ef" * 32, "ef..")
        .replace(a_teardown().digest, "digest..")
    )
    assert text == snapshot("""\
# Destroy digits-k3vq7m?

Instance 26548123 on machine 1203, rented since 2026-08-01 12:00:00 UTC, account 4242. Destroying cannot be undone.

It carries the label of run digits-k3vq7m.

## What will be lost

1 file not saved, 1.9 MiB. The list is complete.

```text untrusted: names as the machine reported, not our words
   1.9 MiB  out/debug.log  (not asked for)
```

## What still runs

It has been stopped since the last look, so nothing on it can change.

```text untrusted: the job, as the machine reported, not our words
succeeded with exit status 0 after 300 steps
```

No program was seen writing under the results.

## What is saved, and how far it is proven

- 2 files, 85.8 MiB, copied 2026-08-01 12:00:00 UTC, verified 2026-08-01 12:00:00 UTC
- to /home/ada/results
- copy copy-1, manifest abababababababababababababababababababababababababababababababab
- 1 file at DIGEST: its bytes are those on the machine; nothing loaded it
- 1 file at LOADS: its bytes are right and it was loaded

```text untrusted: names as the machine reported, not our words; levels and digests are ours
DIGEST                    10 B  notes.bin  sha256 ef..
LOADS                 85.8 MiB  model.safetensors  sha256 cd..
```

## What it costs

- spent on it so far: $1.25
- waiting costs $0.25 per hour ($6.00 per day) while it runs
- and $0.0067 per hour ($0.16 per day) while it is stopped

No volume is known that goes on billing afterwards.

## The statement

- digest: digest..
- run: digits-k3vq7m
- prepared: 2026-08-01 12:00:00 UTC by remote-gpu-trainer 0.1.0
- nonce: n1

The machine's files, each time they were looked at:

- before-stop, 2026-08-01 12:00:00 UTC: 2 files, 85.8 MiB, fingerprint 01..
""")


def test_a_rental_reads_so() -> None:
    assert render(a_rent()) == snapshot("""\
# Rent digits-k3vq7m above the policy?

- it exceeds: $0.25 per hour is above the cap of $0.20 per hour
- $0.25 per hour for 4 h: $1.00 in all
- offer 8812001 on machine 1203, account 4242

```text untrusted: the GPU as the host names it
1x RTX 4090
```

The meter starts when it is rented, and stops only when it is destroyed.

## The statement

- digest: fd60ca65afc848f0a8c3171099bbd7733fd7aa69533a9d0d1da8cde66fb53418
- prepared: 2026-08-01 12:00:00 UTC by remote-gpu-trainer 0.1.0
- nonce: n1
""")


def test_what_is_lost_comes_before_everything_but_the_name() -> None:
    headings = [line for line in render(a_teardown()).split("\n") if line.startswith("#")]
    assert headings[:2] == ["# Destroy digits-k3vq7m?", "## What will be lost"]


def test_ten_thousand_losses_are_all_there() -> None:
    losses = tuple(Loss(path=f"out/shard-{number}.bin", size=number, reason="too large") for number in range(10_000))
    document = render(a_teardown(losses=losses))
    assert all(f"  {loss.path}  " in document for loss in losses)
    assert "10,000 files not saved" in document


@given(NAMES)
def test_a_name_from_the_machine_never_stands_outside_its_block(name: str) -> None:
    marked = f"MACHINE{name}MACHINE"
    plan = a_teardown(
        losses=(Loss(path=marked, size=1, reason=marked),),
        job=marked,
        label=marked,
        writers=(marked,),
        volumes=(marked,),
    )
    assert "MACHINE" not in outside_blocks(render(plan))
    harmless = a_teardown(
        losses=(Loss(path="a", size=1, reason="b"),), job="c", label="d", writers=("e",), volumes=("f",)
    )
    assert outside_blocks(render(plan)).replace(plan.digest, "") == outside_blocks(render(harmless)).replace(
        harmless.digest, ""
    )


def test_a_name_that_imitates_the_dossier_stays_one_line_in_its_block() -> None:
    plan = a_teardown(losses=(Loss(path=LIE, size=1, reason="x"),), job=LIE)
    document = render(plan)
    assert "# Destroy approved" not in outside_blocks(document)
    assert document.count("\n# ") == 0


def test_the_same_plan_always_reads_the_same() -> None:
    restored = TeardownPlan.model_validate_json(a_teardown().model_dump_json())
    assert render(restored) == render(a_teardown())


def test_any_difference_in_a_plan_shows() -> None:
    plans: list[Plan] = [
        a_teardown(),
        a_teardown(nonce="n2"),
        a_teardown(machine_state=MachineState.UNREADABLE),
        a_teardown(machine_state=MachineState.RUNNING),
        a_teardown(losses_complete=False),
        a_teardown(losses=()),
        a_teardown(evidence=()),
        a_teardown(account=1),
        a_teardown(volumes=("volume 9",)),
        a_teardown(writers=("python train.py",)),
        a_rent(),
        a_rent(usd_per_hour=0.3),
    ]
    assert len({render(plan) for plan in plans}) == len(plans)
    assert all(plan.digest in render(plan) for plan in plans)


def test_a_machine_that_cannot_be_read_is_said_plainly() -> None:
    document = render(a_teardown(machine_state=MachineState.UNREADABLE, losses=(), losses_complete=False))
    assert "an unknown amount will be lost, and nobody can say what else" in document
    assert "cannot be read any more" in document


def test_nothing_saved_is_said_in_bold() -> None:
    assert "**Nothing is saved off the machine.**" in render(a_teardown(evidence=()))


def test_a_file_that_nothing_may_load_is_named_with_what_it_would_run() -> None:
    evidence = a_teardown().evidence[0]
    settings = ProvenFile(
        path="training_args.bin",
        size=5_200,
        sha256="aa" * 32,
        level=VerificationLevel.DIGEST,
        refused="loading it would run code of mine.Args",
    )
    text = render(a_teardown(evidence=(evidence.model_copy(update={"files": (*evidence.files, settings)}),)))
    assert "**1 file not loaded, since that would run code of what the file names." in text
    assert "training_args.bin  (loading it would run code of mine.Args)" in text
    assert "mine.Args" not in outside_blocks(text)
    assert "not loaded" not in render(a_teardown())


def test_a_bucket_that_will_delete_its_copy_is_named_with_each_rule() -> None:
    (evidence,) = a_teardown().evidence
    second = SecondCopy(
        url="s3://results/run-1", objects=2, deleting=("rule 'weekly' deletes it",), doubts=("versioning is unknown",)
    )
    plan = a_teardown(evidence=(evidence.model_copy(update={"second": second}),))
    text = outside_blocks(render(plan))
    assert "Also in s3://results/run-1: 2 objects, all still there." in text
    assert "**That bucket will delete what it holds of this copy." in text
    assert "- rule 'weekly' deletes it" in text and "- versioning is unknown" in text
    assert "the bucket will delete its copy" in summary(plan, limit=LEAST_LIMIT, where="the page")
    keeps = evidence.model_copy(update={"second": second.model_copy(update={"deleting": ()})})
    assert "will delete" not in render(a_teardown(evidence=(keeps,)))
    assert "will delete" not in summary(a_teardown(evidence=(keeps,)), limit=LEAST_LIMIT, where="the page")


def test_a_plan_without_a_bucket_has_the_digest_that_it_had_before_buckets_were_named() -> None:
    (evidence,) = a_teardown().evidence
    assert "second" not in evidence.model_dump(mode="json")
    assert type(evidence).model_validate_json(evidence.model_dump_json()) == evidence


def test_times_are_shown_in_utc() -> None:
    plan = a_teardown().model_copy(update={"prepared_at": datetime(2026, 8, 1, 9, 30, tzinfo=UTC)})
    assert "prepared: 2026-08-01 09:30:00 UTC" in render(plan)


@given(
    st.lists(st.builds(Loss, path=NAMES, size=st.integers(0, 2**50), reason=NAMES), max_size=6).map(tuple),
    st.integers(LEAST_LIMIT, 3000),
)
def test_a_summary_keeps_to_its_limit_and_always_states_the_counts(losses: tuple[Loss, ...], limit: int) -> None:
    plan = a_teardown(losses=losses, volumes=("v",), writers=("w",))
    text = summary(plan, limit=limit, where="rgt approve ap-k3vq7m2x")
    assert len(text) <= limit
    assert "rgt approve ap-k3vq7m2x" in text and "26548123" in text
    assert (f"{len(losses)} file" in text) == bool(losses)
    assert "1 volume(s) will go on billing" in text


def test_a_summary_names_the_largest_losses_when_there_is_room() -> None:
    losses = tuple(Loss(path=f"shard-{number}", size=number * 10**6, reason="x") for number in range(1, 9))
    text = summary(a_teardown(losses=losses), limit=2000, where="the page")
    assert "'shard-8'" in text and "'shard-7'" in text and "'shard-1'" not in text


def test_a_summary_of_a_rental_gives_the_price() -> None:
    text = summary(a_rent(gpu=LIE), limit=LEAST_LIMIT, where="the page")
    assert "$0.25 per hour for 4 h: $1.00 in all" in text
    assert "\n```" not in text


def test_a_summary_says_what_is_wrong_before_it_says_what_is_well() -> None:
    plan = a_teardown(evidence=(), machine_state=MachineState.RUNNING, writers=("w",), losses_complete=False)
    text = summary(plan, limit=2000, where="the page")
    for words in ("NOTHING is saved", "runs and could still change", "Still writing: 1", "there may be more"):
        assert words in text


def test_a_plan_without_looks_or_times_says_so() -> None:
    plan = a_teardown()
    plan = plan.model_copy(
        update={"fingerprints": (), "instance": plan.instance.model_copy(update={"started_at": None})}
    )
    assert "never looked at as a whole" in render(plan) and "rented since an unknown time" in render(plan)


def test_a_limit_that_cannot_hold_the_facts_is_refused() -> None:
    with pytest.raises(ValueError, match="800 can"):
        summary(a_teardown(), limit=200, where="here")
    with pytest.raises(ValueError, match="has to know"):
        summary(a_teardown(), limit=LEAST_LIMIT, where="x" * LEAST_LIMIT)
