"""Rules over what is concluded from an answer of the platform."""

from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import AnswerFacts, RentFacts

DOUBTFUL = frozenset({"answer_lost", "server_fault", "unexpected_answer"})
"""Codes after which a write may have happened."""


def _phantom(facts: AnswerFacts) -> Trip | None:
    if facts.action != "create" or facts.error_code or facts.conclusion != "believe-done" or facts.read_back:
        return None
    return Trip(f"create answered with contract {facts.new_contract} and no read has shown the instance yet")


VAST14 = Rule(
    id="VAST14",
    name="phantom-instance-believed",
    severity=Severity.BLOCK,
    symptom="Create answers success with a contract id, and no instance ever comes of it.",
    cause="The platform accepts the request before it has placed it; a failed placement is not reported, and a dud can "
    "sit at cur_state running with actual_status null. Reads also lag behind create by some seconds.",
    example="new_contract 7712345 is answered; ten minutes later show still answers null.",
    fix="read the instance back until it shows, repeating the read and never the create; after 5 minutes call it a "
    "named failure and take another offer",
    unless="an independent read shows the instance",
    source="official CLI 1.9.1 and its agent plugin, 2026-08; seen live by others, 2026",
    waivable=False,
    checks=on(_phantom, AnswerFacts),
)


def _two_factor(facts: AnswerFacts) -> Trip | None:
    if facts.error_code != "two_factor_required" or facts.conclusion != "replace-key":
        return None
    return Trip("the platform asks for a two-factor session, and the key was about to be replaced")


VAST21 = Rule(
    id="VAST21",
    name="two-factor-taken-for-bad-key",
    severity=Severity.BLOCK,
    symptom="Almost every read answers 401 although the key was right yesterday.",
    cause="An account with two-factor authentication answers 401, naming it, until a session is opened.",
    example="Three new keys are made in a row; each gets the same 401.",
    fix="ask the person to open a two-factor session for the account; leave the key as it is",
    unless="the 401 does not speak of two-factor authentication",
    source="OpenAPI and official CLI 1.9.1, 2026-08",
    checks=on(_two_factor, AnswerFacts),
)


def _quota(facts: AnswerFacts) -> Trip | None:
    if facts.error_code != "search_quota_exceeded" or facts.conclusion != "repeat":
        return None
    return Trip("the daily search quota is used up, and the search was about to be repeated")


VAST23 = Rule(
    id="VAST23",
    name="search-quota-retried",
    severity=Severity.BLOCK,
    symptom="Searches answer 429 for the rest of the day, however long each pause is.",
    cause="Besides the rate limit there is a daily quota for searches (error search_quota_exceeded); repeating does "
    "not bring it back.",
    example="A loop that backs off on every 429 searches until midnight.",
    fix="work with the offers already seen, or wait for the next day; look up one offer by its id instead of searching",
    unless="the 429 is a plain rate limit",
    source="OpenAPI 2026-08",
    checks=on(_quota, AnswerFacts),
)


def _absence(facts: AnswerFacts) -> Trip | None:
    if facts.conclusion != "believe-gone" or (facts.account_confirmed and facts.inventory_complete):
        return None
    account = "confirmed" if facts.account_confirmed else "not confirmed"
    listing = "whole" if facts.inventory_complete else "not known to be whole"
    return Trip(f"the account behind the key is {account} and the listing is {listing}")


VAST29 = Rule(
    id="VAST29",
    name="absence-believed-unconfirmed",
    severity=Severity.BLOCK,
    symptom="An instance is written off as gone, and goes on billing; or a second one is rented in its place.",
    cause="A missing instance answers 200 with null and a foreign one 404; so, at times, does a bad key. "
    "The old list is retired with 410; read as empty it has started storms of launches. An instance can show again "
    "shortly after its delete.",
    example="The key is rotated; every instance answers 404; the program rents them all again.",
    fix="confirm with the same key who the account is, read the whole listing with counts that agree, and look twice",
    unless="the account is the pinned one and a whole listing, read twice, does not hold the instance",
    source="seen live by others, 2026; OpenAPI 2026-08",
    waivable=False,
    checks=on(_absence, AnswerFacts),
)


def _refused_but_billed(facts: AnswerFacts) -> Trip | None:
    if facts.action != "create" or not facts.error_code or facts.new_contract is None:
        return None
    if facts.conclusion not in ("forget", "repeat"):
        return None
    return Trip(f"the refusal ({facts.error_code}) carries contract {facts.new_contract}")


VAST30 = Rule(
    id="VAST30",
    name="refused-create-forgotten",
    severity=Severity.BLOCK,
    symptom="After a refused create there is a stopped instance on the bill.",
    cause="A refusal, for a bid that is too low for example, can still carry new_contract: the contract exists, "
    "stopped, and its disk bills.",
    example="success false with new_contract 7712346: a stopped instance with 100 GB.",
    fix="adopt the contract that the answer names and go on with it, or have it destroyed",
    unless="the refusal names no contract, or the contract was adopted",
    source="seen live by others, 2026",
    waivable=False,
    checks=on(_refused_but_billed, AnswerFacts),
)


def _repeated(facts: AnswerFacts) -> Trip | None:
    if facts.action != "create" or facts.conclusion != "repeat" or facts.error_code not in DOUBTFUL:
        return None
    return Trip(f"a create ended with {facts.error_code}: it may have rented, and was about to be repeated")


def _unresolved(facts: RentFacts) -> Trip | None:
    if not facts.unresolved_creates:
        return None
    return Trip(f"{len(facts.unresolved_creates)} earlier create has no settled outcome: {facts.unresolved_creates[0]}")


VAST31 = Rule(
    id="VAST31",
    name="create-repeated-after-timeout",
    severity=Severity.BLOCK,
    symptom="Two instances run where one was wanted.",
    cause="Nothing in a create call makes it count once, and a second purchase of the same offer may be accepted. "
    "The official SDK repeats all verbs after timeouts and 5xx, this one too.",
    example="The first answer is lost after 30 s, the retry succeeds, and both bill.",
    fix="label each create with its lease, list by that label after a doubtful answer, adopt what is there, and repeat "
    "only once whole listings have shown for a while that there is nothing; poll_status does that",
    unless="the earlier create has a settled outcome",
    source="official SDK 1.9.1, 2026-08; seen live by others, 2026",
    waivable=False,
    checks=(*on(_repeated, AnswerFacts), *on(_unresolved, RentFacts)),
)


def _copy_status(facts: AnswerFacts) -> Trip | None:
    if facts.action != "copy" or facts.conclusion != "believe-done" or facts.read_back:
        return None
    return Trip("a copy reported success and nothing has read the bytes back")


VAST32 = Rule(
    id="VAST32",
    name="official-copy-status-trusted",
    severity=Severity.BLOCK,
    symptom="'vastai copy' ends with status 0 and files are missing or short.",
    cause="The official copy ignores the exit status of its rsync, uses neither partial files nor checksums, and turns "
    "the check of host keys off.",
    example="The link drops at 60 %; the command prints its usual lines and exits 0.",
    fix="use copy_out, which hashes on both sides; after any other copy compare digests and load the files",
    unless="the bytes at home were hashed against the far side's manifest",
    source="official CLI 1.9.1 source, 2026-08",
    checks=on(_copy_status, AnswerFacts),
)
