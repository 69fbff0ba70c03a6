"""Gotchas of any rented GPU for which nothing can be looked at before the call."""

from remote_gpu_trainer.rules.base import Rule, Severity

U2 = Rule(
    id="U2",
    name="host-memory-taken-for-own",
    severity=Severity.WARN,
    symptom="The job ends with 'Killed' and status 137, and free shows hundreds of gigabytes.",
    cause="free and /proc/meminfo show the host; the container's limit stands in its cgroup.",
    example="64 data loaders on a host of 512 GB, in a container limited to 48 GB.",
    fix="read /sys/fs/cgroup/memory.max (v1: memory/memory.limit_in_bytes) and size workers and caches by it",
    unless="the job's peak stays below the cgroup's limit",
    source="Linux cgroup documentation",
    unchecked="how much memory a command takes is not known before it runs",
)

U4 = Rule(
    id="U4",
    name="hub-download-stalled",
    severity=Severity.WARN,
    symptom="A download from the Hugging Face hub stands still, without an error.",
    cause="The host's route to the hub is slow, cut or blocked; the client waits for long.",
    example="du -sh ~/.cache/huggingface/hub shows the same size for ten minutes.",
    fix="hf download resumes; then HF_HUB_DOWNLOAD_TIMEOUT, a mirror by HF_ENDPOINT in the job's own environment, or "
    "fetch at home once and push",
    unless="the cache grows",
    source="general; seen on rented hosts, 2026-06",
    unchecked="only the growth of the cache over time tells; read_logs and the boot check show it",
)

U8 = Rule(
    id="U8",
    name="idle-gpu-unnoticed",
    severity=Severity.WARN,
    symptom="The process lives, the meter runs, and the GPU is at 0 %.",
    cause="Data loading, a deadlock, a download or an evaluation on the CPU holds the job up.",
    example="Two loaders for a GPU that needs sixteen: 0 % with short peaks.",
    fix="sample nvidia-smi for a minute, look at the loaders, and bound the job by progress and not by being alive",
    unless="steps go forward at the usual rate",
    source="general",
    unchecked="use of the GPU is known only while it runs; the heartbeat in poll_status shows the progress",
)

U11 = Rule(
    id="U11",
    name="partial-state-resumed",
    severity=Severity.WARN,
    symptom="After a resume the loss jumps, or the same data is seen again.",
    cause="Only the weights were saved: optimizer, schedule, scaler, RNG and the place in the data begin anew.",
    example="Adam without its moments: a peak in the loss at every preemption.",
    fix="save and restore model, optimizer, scheduler, scaler, step, RNG states and the sampler's place together",
    unless="a drill (stop, start) continues the curve",
    source="general; see references/spot-resilience.md",
    unchecked="what a checkpoint means is the job's own affair; verify_local reads step and keys where it can",
)

U12 = Rule(
    id="U12",
    name="single-shot-bulk-copy",
    severity=Severity.WARN,
    symptom="scp breaks off at 80 % of a large file, and begins again at 0.",
    cause="Long connections over distance are cut by proxies, NAT and restarts, and scp keeps nothing.",
    example="Three attempts at 30 GB, each cut after 20.",
    fix="copy_out resumes from a map of proven chunks; by hand: a loop of rsync --partial --append-verify until it "
    "ends with 0, then digests",
    unless="the copy can be taken up where it was cut",
    source="general; seen on rented hosts, 2026-06",
    unchecked="copy_out and push_files resume always, so nothing here can trip",
)

U14 = Rule(
    id="U14",
    name="egress-price-unread",
    severity=Severity.WARN,
    symptom="Bringing the results home costs more than making them.",
    cause="Providers price outgoing bytes apart from the hours, from $0 to over $0.10 per GB.",
    example="500 GB of intermediate checkpoints at $0.09: $45.",
    fix="read the price before renting, and bring home what is needed: the best and the latest, metrics and logs",
    unless="the price is zero or the results are small",
    source="general; seen on rented hosts, 2026-06",
    unchecked="on this platform VAST9 looks at it with the offer's own prices",
)

U15 = Rule(
    id="U15",
    name="data-set-fetched-each-epoch",
    severity=Severity.WARN,
    symptom="Ingress on the bill grows with the epochs, and the GPU waits for the network.",
    cause="Streaming from a far bucket moves the whole data set once for each epoch.",
    example="90 epochs over 150 GB: 13.5 TB.",
    fix="fetch once to the disk or a volume, verify, and train from there; shard when it does not fit",
    unless="the data set is on the box's own disk",
    source="general; seen on rented hosts, 2026-06",
    unchecked="where a command reads from is not known before it runs; the bytes in spend show it",
)
