"""Garbage collection of versions in a remote store, whose users may be on other machines.

Locks do not reach there. Instead, a process writes a small file when it begins to use a version
(`Bucket.hold`), and only then looks whether the version is there; and a version that was used less
than `older_than` ago stays. A collection deletes records, and only then looks at those files again:
where one has been written since, it puts all records back. So either the process sees no version,
or the collection sees the process. After a death in between, what has no record goes next time.
"""

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from functory.errors import InputError
from storage.bucket import USES, Bucket, files_of
from storage.references import Record, record_name
from storage.retention import Garbage, Home, Retention, reason, unneeded
from storage.versions import Store

__all__ = ["collect_remote"]

LEAST = timedelta(days=1)
"""For how long a use counts, at least: clocks differ, and stages take their time."""


def collect_remote(
    store: Store, bucket: Bucket, retention: Retention, homes: Collection[Home] | None, remove: bool
) -> list[Garbage]:
    """Find versions of a remote store that may go, and remove them if asked to.

    Raises
    ------
    InputError
        If `older_than` is less than a day.
    """
    if retention.older_than < LEAST:
        raise InputError(
            f"The store {store} may be in use on other machines, which shows only by what they "
            "used of late: collect with --older-than 1d or more."
        )
    uses = bucket.objects.times(USES)
    records = store.records()
    now = time.time()
    latest = now - retention.older_than.total_seconds()
    in_use = {what for what, at in uses.items() if at.timestamp() > latest}
    going = unneeded(records, retention, now, in_use, homes)
    abandoned = dict(_abandoned(bucket, records, homes, latest))
    if remove:
        if not _deleted(bucket, going, uses):
            return collect_remote(store, bucket, retention, homes, remove)
        for record in going:
            bucket.withdraw(record.reference)
        for names in abandoned.values():
            bucket.objects.remove(names)
        known = {str(record.reference) for record in records} - {str(r.reference) for r in going}
        bucket.objects.remove([f"{USES}/{use}" for use in uses.keys() - known - in_use])
    return [
        Garbage(str(r.reference), reason(r, records, now), size=r.bytes, freed=r.bytes)
        for r in going
    ] + list(abandoned)


def _deleted(bucket: Bucket, going: Sequence[Record], uses: Mapping[str, datetime]) -> bool:
    """Delete records, children first; give all back, and say so, if one was used meanwhile."""
    for record in going:
        bucket.objects.remove([record_name(record.reference)])
    since = bucket.objects.times(USES)
    if all(since.get(str(r.reference)) == uses.get(str(r.reference)) for r in going):
        return True
    for record in reversed(going):
        bucket.create(record_name(record.reference), record.model_dump_json(indent=1))
    return False


def _abandoned(
    bucket: Bucket, records: Sequence[Record], homes: Collection[Home] | None, latest: float
) -> Iterator[tuple[Garbage, list[str]]]:
    """Yield files without a record, of numbers where nothing was written for long, with names."""
    published = {files_of(record.reference) for record in records}
    for home in bucket.homes(None, None):
        kind, _, name = home.partition("/")
        if homes is not None and (kind, name) not in homes:
            continue
        for number in bucket.objects.within(home):
            folder = f"{home}/{number}"
            if folder in published or not re.fullmatch(r"v\d+", number):
                continue
            times = bucket.objects.times(folder)
            if times and max(times.values()).timestamp() <= latest:
                size = sum(entry["size"] for entry in bucket.objects.listing(folder).values())
                why = "was never published, or has lost its record"
                garbage = Garbage(f"{home}@{number}", why, size=size, freed=size)
                yield garbage, [f"{folder}/{file}" for file in times]
