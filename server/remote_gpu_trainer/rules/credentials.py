"""Rules on secrets: never in what the platform stores, never on a stranger's disk."""

from collections.abc import Mapping
from itertools import chain

from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import PushFacts, RentFacts, SecretSighting, StartFacts
from remote_gpu_trainer.rules.secrets import find_secrets, find_secrets_in_value


def _places(sightings: tuple[SecretSighting, ...]) -> str:
    named = [f"{sighting.kind} at {sighting.place}" for sighting in sightings[:5]]
    more = f" and {len(sightings) - 5} more" if len(sightings) > 5 else ""
    return f"looks like a credential: {'; '.join(named)}{more}"


def _in_env(env: Mapping[str, str]) -> tuple[SecretSighting, ...]:
    return tuple(chain.from_iterable(find_secrets_in_value(name, value) for name, value in env.items()))


def _stored_by_platform(facts: RentFacts) -> Trip | None:
    texts = (
        ("onstart", facts.onstart),
        ("args", facts.args),
        ("image", facts.image or ""),
        ("image login", facts.image_login or ""),
        ("ports", " ".join(facts.ports)),
    )
    found = tuple(chain.from_iterable(find_secrets(text, place) for place, text in texts)) + _in_env(facts.env)
    return Trip(_places(found)) if found else None


def _in_command(facts: StartFacts) -> Trip | None:
    words = (("command", " ".join(facts.job.argv)), ("path", " ".join((facts.job.cwd, *facts.job.results))))
    said = tuple(chain.from_iterable(find_secrets(text, place) for place, text in words))
    found = facts.secrets + said + _in_env(facts.job.env)
    return Trip(_places(found)) if found else None


VAST11 = Rule(
    id="VAST11",
    name="secret-in-image-or-onstart",
    severity=Severity.BLOCK,
    symptom="A key that was written into an image or the onstart script can be read back by others.",
    cause="Image layers and the onstart text are kept on the platform's servers, and the host can read both.",
    example="An onstart line that exports a Hugging Face token stays readable after the instance is gone.",
    fix="give the secret by name (secret_env), so that it is set as environment at create; or stream it over "
    "stdin at run time (U34)",
    unless="no text of the request holds a credential; if this is a false alarm, the person can waive the rule",
    source="seen on the platform, 2026-06",
    checks=(*on(_stored_by_platform, RentFacts), *on(_in_command, StartFacts)),
)


def _pushed(facts: PushFacts) -> Trip | None:
    found = facts.secrets + find_secrets(facts.destination, "destination")
    return Trip(_places(found)) if found else None


U34 = Rule(
    id="U34",
    name="credentials-left-on-rented-disk",
    severity=Severity.BLOCK,
    symptom="A .env file, a cloud key or a token that was copied along lies on the disk of a stranger's machine.",
    cause="The owner of the machine can read its disk and its memory, also after the rental.",
    example="Pushing a project folder takes .env and ~/.aws/credentials with it.",
    fix="leave the file out of the push; hand over short-lived, narrow credentials by secret_env or over stdin",
    unless="the files that are pushed hold no credential",
    source="general practice; seen on rented hosts, 2026-06",
    checks=on(_pushed, PushFacts),
)
