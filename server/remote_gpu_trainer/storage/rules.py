"""What a bucket will do with objects later: keep old versions, delete them on a day, or put them out of reach."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from remote_gpu_trainer.domain.artifacts import BucketObject, BucketRules
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.storage.refusals import code_of
from remote_gpu_trainer.storage.urls import BucketUrl

NONE_SET = frozenset({"NoSuchLifecycleConfiguration"})
OUT_OF_REACH = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes of which nothing can be read until it was restored, for hours or days and for money."""


def read_rules(client: Any, url: BucketUrl, objects: Sequence[BucketObject]) -> BucketRules:
    """Read versioning and expiry. What cannot be read is unknown, and said so. Blocking."""
    unread: list[str] = []
    versioned = _asked(lambda: client.get_bucket_versioning(Bucket=url.bucket), "versioning", unread)
    lifecycle = _asked(lambda: client.get_bucket_lifecycle_configuration(Bucket=url.bucket), "expiry rules", unread)
    rules = [_Rule(row) for row in cast(list[dict[str, Any]], (lifecycle or {}).get("Rules", []))]
    on = [rule for rule in rules if rule.touches(url, objects)]
    return BucketRules(
        versioned=None if versioned is None else versioned.get("Status") == "Enabled",
        expiring=tuple(said for rule in on if not rule.tags for said in rule.deletes()),
        caveats=tuple(said for rule in on for said in rule.caveats()),
        unread=tuple(unread),
    )


class _Rule:
    """One rule of a bucket's lifecycle, as S3 tells it."""

    def __init__(self, row: dict[str, Any]) -> None:
        filters = cast(dict[str, Any], row.get("Filter") or {})
        joined = cast(dict[str, Any], filters.get("And") or {})
        self._row, self._both = row, {**filters, **joined}
        self._prefix = str(row.get("Prefix") or self._both.get("Prefix") or "")
        one = cast("list[dict[str, Any]]", [filters["Tag"]] if "Tag" in filters else [])
        self.tags = [*one, *cast("list[dict[str, Any]]", joined.get("Tags") or ())]
        """What an object has to be tagged with; copies tag none of theirs."""

    def touches(self, url: BucketUrl, objects: Sequence[BucketObject]) -> bool:
        """Whether it is for any of these objects, its tags aside."""
        if self._row.get("Status") != "Enabled":
            return False
        above, below = self._both.get("ObjectSizeGreaterThan"), self._both.get("ObjectSizeLessThan")
        return any(
            url.key(one.path).startswith(self._prefix)
            and (above is None or one.size > int(above))
            and (below is None or one.size < int(below))
            for one in objects
        )

    def deletes(self) -> Iterator[str]:
        """In a sentence, when it deletes them."""
        expiration = cast(dict[str, Any], self._row.get("Expiration") or {})
        if "Days" in expiration:
            yield f"{self._named} deletes objects {self._scope} {expiration['Days']} days after they were stored"
        elif "Date" in expiration:
            yield f"{self._named} deletes objects {self._scope} on {expiration['Date']}"

    def caveats(self) -> Iterator[str]:
        """What else it takes away: old versions, or that what is there can be read at once."""
        if self.tags:
            keys = ", ".join(f"{one.get('Key')}={one.get('Value')}"[:80] for one in self.tags)
            for said in self.deletes():
                yield f"{said} if they are tagged {keys!r}: copies tag none of theirs, what lay there before may be"
            return
        old = cast(dict[str, Any], self._row.get("NoncurrentVersionExpiration") or {})
        if old:
            kept = old.get("NewerNoncurrentVersions")
            but = f", but for the newest {kept}" if kept else ""
            days = old.get("NoncurrentDays", "some")
            yield f"{self._named} deletes old versions {self._scope} {days} days after they were replaced{but}"
        for move in cast("list[dict[str, Any]]", self._row.get("Transitions") or ()):
            if str(move.get("StorageClass")) in OUT_OF_REACH:
                when = f"{move['Days']} days after they were stored" if "Days" in move else f"on {move.get('Date')}"
                yield (
                    f"{self._named} moves objects {self._scope} to {move['StorageClass']} {when}: then nothing can be "
                    "read before it was restored there"
                )

    @property
    def _named(self) -> str:
        return f"rule {str(self._row.get('ID', 'without a name'))[:80]!r}"

    @property
    def _scope(self) -> str:
        above, below = self._both.get("ObjectSizeGreaterThan"), self._both.get("ObjectSizeLessThan")
        sizes = [
            *([] if above is None else [f"over {show_bytes(int(above))}"]),
            *([] if below is None else [f"below {show_bytes(int(below))}"]),
        ]
        return " ".join([f"under {self._prefix[:200]!r}", *(["of"] if sizes else []), " and ".join(sizes)]).rstrip()


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
