"""Rules over how a create call is put: availability, price, tag, size, what runs inside."""

import re

from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import OfferFacts, RentFacts, SearchFacts, StartFacts
from remote_gpu_trainer.rules.images import automatic_tag, repository

ONSTART_LIMIT = 4096
"""Characters of args and onstart together by OpenAPI 2026-08; the guides say 16 KB for onstart: the smaller holds."""
_DOCKER = re.compile(r"(?<![\w/.-])(?:dockerd|docker(?:-compose)?\s+(?:run|build|compose|up|pull|exec)|podman\s+run)\b")


def _kept_when_unavailable(facts: RentFacts) -> Trip | None:
    if not facts.cancel_unavailable:
        return Trip("cancel_unavail is off: if the machine is taken meanwhile, a stopped instance stays and bills")
    return None


VAST15 = Rule(
    id="VAST15",
    name="unavailable-machine-kept",
    severity=Severity.ACKNOWLEDGE,
    symptom="A create for a machine that was just taken leaves a stopped instance that bills its disk.",
    cause="cancel_unavail defaults to true for on-demand and to false for interruptible rentals; without it an "
    "unavailable machine becomes a stopped instance in place of an error.",
    example="A bid on a busy GPU: 'created', never running, 80 GB billed from the first minute.",
    fix="send cancel_unavail true with every create",
    unless="cancel_unavail is sent as true",
    source="OpenAPI and official CLI 1.9.1, 2026-08",
    checks=on(_kept_when_unavailable, RentFacts),
)


def _type_mismatch(facts: RentFacts) -> Trip | None:
    searched = facts.searched_as or facts.offer.rental
    if searched is RentalType.INTERRUPTIBLE and facts.bid is None:
        return Trip(f"offer {facts.offer.id} was found as interruptible and no bid is given: it would rent on-demand")
    if facts.bid is not None and searched is RentalType.ON_DEMAND:
        return Trip(f"offer {facts.offer.id} was found as on-demand and a bid is given: it would be interruptible")
    least = facts.offer.min_bid_usd_per_hour
    if facts.bid is not None and least is not None and facts.bid < least:
        return Trip(f"the bid ${facts.bid:.4f}/h is below the least of ${least:.4f}/h and would not run")
    return None


VAST16 = Rule(
    id="VAST16",
    name="bid-offer-rented-on-demand",
    severity=Severity.BLOCK,
    symptom="The instance costs twice what the search showed.",
    cause="The price in the create call alone makes a rental interruptible: an offer found by a bid search and created "
    "without price is rented on demand at the on-demand price.",
    example="Found at $0.18/h as a bid, created without price, billed at $0.41/h.",
    fix="give bid_usd_per_hour for an interruptible, at least the offer's min_bid, or search on-demand offers",
    unless="the search's type and the bid agree",
    source="OpenAPI and official CLI 1.9.1, 2026-08",
    checks=on(_type_mismatch, RentFacts),
)


def _foreign_automatic_tag(facts: OfferFacts) -> Trip | None:
    if facts.image is None or not automatic_tag(facts.image):
        return None
    owner = repository(facts.image).removeprefix("docker.io/")
    return (
        None
        if owner.startswith("vastai/")
        else Trip("@vastai-automatic-tag is asked of an image that is not one of vastai/*")
    )


VAST18 = Rule(
    id="VAST18",
    name="automatic-tag-on-foreign-image",
    severity=Severity.BLOCK,
    symptom="An instance stays in Loading with an error that its image does not exist.",
    cause="@vastai-automatic-tag is resolved by the platform for vastai/* images only.",
    example="pytorch/pytorch:@vastai-automatic-tag is looked up as it stands and not found.",
    fix="name a tag of the image, or use a vastai/* image",
    unless="the image is one of vastai/*, or names its tag",
    source="official CLI 1.9.1 and docs, 2026-08",
    checks=on(_foreign_automatic_tag, SearchFacts, RentFacts),
)


def _docker_at_rent(facts: RentFacts) -> Trip | None:
    if "dind" in (facts.image or "").rsplit("/", 1)[-1]:
        return Trip("the image is a Docker-in-Docker image", Severity.BLOCK)
    return Trip("the boot hook calls docker") if _DOCKER.search(f"{facts.onstart}\n{facts.args}") else None


def _docker_at_start(facts: StartFacts) -> Trip | None:
    return Trip("the command calls docker") if _DOCKER.search(" ".join(facts.job.argv)) else None


VAST26 = Rule(
    id="VAST26",
    name="docker-inside-docker",
    severity=Severity.ACKNOWLEDGE,
    symptom="docker run on the box fails: no daemon, no permission.",
    cause="The instance is a container itself, and running Docker inside is not supported, for security.",
    example="A training script that starts its data base with docker compose.",
    fix="put everything into one image, or start the parts as processes",
    unless="nothing in image, boot hook or command calls Docker",
    source="docs.vast.ai FAQ on instances, 2026-06",
    checks=(*on(_docker_at_rent, RentFacts), *on(_docker_at_start, StartFacts)),
)


def _onstart_size(facts: RentFacts) -> Trip | None:
    size = len(facts.onstart) + len(facts.args)
    if size <= ONSTART_LIMIT:
        return None
    return Trip(f"args and onstart are {size:,} characters together; {ONSTART_LIMIT:,} are safe")


VAST35 = Rule(
    id="VAST35",
    name="onstart-over-limit",
    severity=Severity.BLOCK,
    symptom="Create answers 400, or the boot hook ends in the middle.",
    cause="The API reference allows 4,096 characters for args and onstart together; the guides speak of 16 KB for "
    "onstart. The smaller limit is safe under both.",
    example="A 9 KB boot hook passes by the guide and is refused by the server.",
    fix="push the script as a file and let onstart call it, or send it as gzip and base64",
    unless="args and onstart are at most 4,096 characters together",
    source="OpenAPI 2026-08 against docs.vast.ai CLI commands, 2026-06: conflict, the smaller taken",
    checks=on(_onstart_size, RentFacts),
)
