"""What a bucket will do with an object later: keep old versions, or delete it on a day."""

from typing import Any, cast

from remote_gpu_trainer.domain.artifacts import BucketRules
from remote_gpu_trainer.storage.refusals import code_of
from remote_gpu_trainer.storage.urls import BucketUrl

NONE_SET = frozenset({"NoSuchLifecycleConfiguration"})


def read_rules(client: Any, url: BucketUrl) -> BucketRules:
    """Read versioning and expiry. What cannot be read is unknown, and said so. Blocking."""
    unread: list[str] = []
    versioned = _asked(lambda: client.get_bucket_versioning(Bucket=url.bucket), "versioning", unread)
    lifecycle = _asked(lambda: client.get_bucket_lifecycle_configuration(Bucket=url.bucket), "expiry rules", unread)
    expiring = [
        said for rule in cast(list[dict[str, Any]], (lifecycle or {}).get("Rules", [])) if (said := _expires(rule, url))
    ]
    return BucketRules(
        versioned=None if versioned is None else versioned.get("Status") == "Enabled",
        expiring=tuple(expiring),
        unread=tuple(unread),
    )


def _asked(question: Any, what: str, unread: list[str]) -> dict[str, Any] | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return cast(dict[str, Any], question())
    except ClientError as bad:
        code = str(code_of(bad))
        if code in NONE_SET:
            return {}
        unread.append(f"{what} could not be read ({code[:60]})")
    except BotoCoreError as bad:
        unread.append(f"{what} could not be read ({type(bad).__name__})")
    return None


def _expires(rule: dict[str, Any], url: BucketUrl) -> str | None:
    """In a sentence how a rule deletes objects below the prefix; a rule for tagged objects touches none of ours."""
    expiration = cast(dict[str, Any], rule.get("Expiration") or {})
    filters = cast(dict[str, Any], rule.get("Filter") or {})
    joined = cast(dict[str, Any], filters.get("And") or {})
    prefix = str(rule.get("Prefix") or filters.get("Prefix") or joined.get("Prefix") or "")
    ours = f"{url.prefix}/"
    if rule.get("Status") != "Enabled" or not {"Days", "Date"} & expiration.keys():
        return None
    if "Tag" in filters or joined.get("Tags") or not (ours.startswith(prefix) or prefix.startswith(ours)):
        return None
    when = f"{expiration['Days']} days after they were stored" if "Days" in expiration else f"on {expiration['Date']}"
    return f"rule {str(rule.get('ID', 'without a name'))[:80]!r} deletes objects under {prefix[:200]!r} {when}"
