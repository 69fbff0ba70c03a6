"""Rules over a create call: image, ports, disk, volume."""

from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.domain.units import GB, GIB
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import OfferFacts, RentFacts, SearchFacts, StartFacts
from remote_gpu_trainer.rules.images import cuda_in_image

PORT_CAP = 64
"""Open ports of one instance (docs.vast.ai networking, 2026-06)."""
PROXY_LIMIT_BYTES = 10**9
"""Above about 1 GB the platform advises direct SSH (docs.vast.ai data-movement, 2026-06)."""


def _image_newer_than_driver(facts: OfferFacts) -> Trip | None:
    if facts.image is None:
        return None
    wanted, limit = cuda_in_image(facts.image), facts.offer.cuda_max
    if wanted is None:
        return Trip("the image's tag names no CUDA version, so only the boot check can tell", Severity.WARN)
    if limit is None:
        return Trip(
            f"the image brings CUDA {wanted:g}; what the host's driver supports is unknown", Severity.ACKNOWLEDGE
        )
    if wanted <= limit:
        return None
    return Trip(f"the image brings CUDA {wanted:g}; the host's driver runs at most {limit:g}")


def _gpu_invisible(facts: StartFacts) -> Trip | None:
    box = facts.box
    if box is None or not box.gpus or box.framework_cuda is None or box.framework_sees_gpu is not False:
        return None
    driver = f"{box.driver_cuda:g}" if box.driver_cuda is not None else "of unknown version"
    return Trip(
        f"the framework is built for CUDA {box.framework_cuda:g}, the driver is {driver}, and no GPU is seen",
        Severity.BLOCK,
    )


VAST5 = Rule(
    id="VAST5",
    name="image-cuda-newer-than-driver",
    severity=Severity.BLOCK,
    symptom="torch.cuda.is_available() is False, or a driver mismatch is reported, on a box that was just rented.",
    cause="CUDA comes with the Docker image and the driver with the host; the image's CUDA must not be newer than "
    "what the host's driver runs.",
    example="An image with CUDA 12.8 on a host whose cuda_max_good is 12.4: training falls back to the CPU.",
    fix="choose an image whose CUDA is at most the offer's cuda_max, or search with min_cuda; "
    "look at nvidia-smi and nvcc on the box before training; start_job does (U28)",
    unless="the image's CUDA is at most the offer's cuda_max",
    source="seen on the platform, 2026-06; OpenAPI 2026-08 (cuda_max_good)",
    checks=(*on(_image_newer_than_driver, SearchFacts, RentFacts), *on(_gpu_invisible, StartFacts)),
)


def _ports(facts: RentFacts) -> Trip | None:
    if len(facts.ports) + 1 > PORT_CAP:
        return Trip(f"{len(facts.ports)} ports and SSH exceed the cap of {PORT_CAP} open ports", Severity.BLOCK)
    if len(facts.ports) + 1 > facts.offer.direct_ports and facts.ports:
        return Trip(
            f"{len(facts.ports)} ports and SSH are asked for; the offer has {facts.offer.direct_ports} direct ports",
            Severity.ACKNOWLEDGE,
        )
    fixed = [port for port in facts.ports if _differs(port)]
    if fixed:
        return Trip(f"{', '.join(fixed)} asks for a fixed external port; the platform assigns a random one")
    return None


def _differs(port: str) -> bool:
    outer, colon, inner = port.partition(":")
    return bool(colon) and outer != inner.partition("/")[0]


VAST6 = Rule(
    id="VAST6",
    name="internal-port-dialled",
    severity=Severity.WARN,
    symptom="TensorBoard, Jupyter or an API does not answer on the port that it listens on.",
    cause="Instances share a public IP; each internal port is mapped to a random external one, new for every instance, "
    "and there are at most 64.",
    example="A service on 8081 answers at PUBLIC_IP:33526.",
    fix="open ports at create and read the mapping from poll_status each time; never write a port down",
    unless="at most 63 ports are asked for and none is expected at a fixed external number",
    source="docs.vast.ai networking, 2026-06; ports above 70000 map to themselves: OpenAPI 2026-08",
    checks=on(_ports, RentFacts),
)


def _proxy_only(facts: RentFacts) -> Trip | None:
    if facts.direct and facts.offer.direct_ports >= 1:
        return None
    moved = max(facts.shape.upload_gib, facts.shape.download_gib) * GIB
    why = "direct SSH is not asked for" if not facts.direct else "the offer has no direct port"
    seen = f"{why}, and {moved / GB:.1f} GB are to be moved"
    return Trip(seen, Severity.ACKNOWLEDGE if moved > PROXY_LIMIT_BYTES else Severity.WARN)


def _no_direct_port(facts: SearchFacts) -> Trip | None:
    return Trip("the offer has no direct port") if facts.offer.direct_ports < 1 else None


VAST8_RENT = (*on(_no_direct_port, SearchFacts), *on(_proxy_only, RentFacts))


def _disk(facts: RentFacts) -> Trip | None:
    shape, need = facts.shape, facts.disk_need_gib
    if shape.disk_gib > facts.offer.disk_gib:
        return Trip(f"{shape.disk_gib:g} GiB of disk are asked for; the offer has {facts.offer.disk_gib:g} GiB")
    if need is not None and shape.disk_gib < need:
        return Trip(
            f"the job needs about {need:.0f} GiB of disk and {shape.disk_gib:g} GiB are asked for",
            fix=f"ask for at least {need:.0f} GiB, or keep fewer checkpoints; HF_HOME is on the data disk "
            f"({facts.platform.hub_cache})",
        )
    least = shape.image_gib + shape.upload_gib + shape.download_gib
    if need is None and shape.disk_gib < least:
        return Trip(
            f"image, data and results are at least {least:.0f} GiB and {shape.disk_gib:g} GiB of disk are asked for; "
            "cache and checkpoints come on top",
            Severity.ACKNOWLEDGE,
        )
    return None


VAST10 = Rule(
    id="VAST10",
    name="disk-sized-without-checkpoints",
    severity=Severity.BLOCK,
    symptom="'No space left on device' in the middle of a run, and the disk cannot be made larger.",
    cause="The container's disk is fixed at create (10 GB is the least and the default) and cannot be resized; image "
    "layers, the Hugging Face cache and checkpoints share it.",
    example="50 GB of disk, 22 GB of image and data, a 3 GB checkpoint each 20 minutes: full after three hours.",
    fix="ask for more disk at create, put HF_HOME on the data disk, keep the best and the latest checkpoint only "
    "(audit by bytes and inodes: U6, U7)",
    unless="the disk is at least the estimate for image, data, cache and the checkpoints kept",
    source="docs.vast.ai storage types, 2026-06",
    checks=on(_disk, RentFacts),
)


def _volume_follows(facts: RentFacts) -> Trip | None:
    if facts.network_volume:
        return Trip("a network volume is asked for; none is offered by this platform today")
    wanted = facts.volume_machine
    if wanted is None or wanted == facts.offer.machine_id:
        return None
    return Trip(f"the volume lives on machine {wanted} and the offer is machine {facts.offer.machine_id}")


VAST12 = Rule(
    id="VAST12",
    name="volume-expected-to-travel",
    severity=Severity.BLOCK,
    symptom="A plan relies on a volume that follows the job to another host, and the data is not there.",
    cause="A volume never leaves the machine on which it was made. The storage documentation knows no network volumes "
    "that span machines, and the CLI hides them as unreleased.",
    example="After a preemption the job is relaunched on another machine and its volume cannot be attached.",
    fix="keep what must last off the box: copy_out to a folder or a bucket; re-attach only on the same machine",
    unless="the offer is the machine on which the volume lives",
    source="docs.vast.ai storage types, 2026-06; official CLI 1.9.1, 2026-08",
    checks=on(_volume_follows, RentFacts),
)


def is_interruptible(facts: RentFacts) -> bool:
    """Whether this create call rents by bid."""
    return facts.bid is not None or facts.offer.rental is RentalType.INTERRUPTIBLE
