"""Which versions are needed: all that something that stays was made from, and no more."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from old_versions import DAYS, LATEST, NOW
from provenance import PROVENANCE

from storage.references import Record, Reference
from storage.retention import Retention, home_of, unneeded


@st.composite
def graphs(draw: st.DrawFn) -> list[Record]:
    """Draw records of a few names; a version is made from some earlier ones, or from lost ones."""
    records: list[Record] = []
    numbers = {"a": 0, "b": 0, "c": 0}
    for i in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from("abc"))
        numbers[name] += draw(st.integers(1, 2))
        made_from = draw(st.lists(st.sampled_from(records), max_size=3)) if records else []
        parents = {str(j): record.reference for j, record in enumerate(made_from)}
        if draw(st.integers(0, 9)) == 0:
            parents["lost"] = Reference(kind="raw", name="a", version=99, digest="lost")
        age = timedelta(days=draw(st.integers(0, 60)))
        created = datetime.fromtimestamp(NOW, UTC) - age
        provenance = PROVENANCE.model_copy(update={"created": created, "parents": parents})
        reference = Reference(kind="raw", name=name, version=numbers[name], digest=str(i))
        records.append(Record(reference=reference, files={}, **dict(provenance)))
    return records


@given(st.data(), graphs(), st.integers(1, 3), st.integers(0, 60))
def test_what_stays_is_needed_and_all_that_is_needed_stays(
    data: st.DataObject, records: list[Record], keep: int, days: int
) -> None:
    names = [str(record.reference) for record in records]
    held = set(data.draw(st.lists(st.sampled_from(names), max_size=2))) if names else set()
    homes = data.draw(st.none() | st.sets(st.sampled_from([("raw", name) for name in "abc"])))
    retention = Retention(keep=keep, older_than=timedelta(days=days))
    gone = unneeded(data.draw(st.permutations(records)), retention, NOW, held, homes)
    stays = [record for record in records if record not in gone]
    assert len(stays) + len(gone) == len(records)

    def for_itself(record: Record) -> bool:
        newer = [
            other
            for other in records
            if home_of(other) == home_of(record)
            and other.reference.version > record.reference.version
        ]
        young = record.created.timestamp() > NOW - days * DAYS
        foreign = homes is not None and home_of(record) not in homes
        return len(newer) < keep or young or foreign or str(record.reference) in held

    used = [parent for record in stays for parent in record.parents.values()]
    for record in records:
        assert (record in stays) == (for_itself(record) or record.reference in used)
    # after any of them, what is left lacks nothing that it was made from
    for i, record in enumerate(gone):
        children = [r for r in records if record.reference in r.parents.values()]
        assert all(child in gone[:i] for child in children)


def test_content_that_descends_from_itself_stays() -> None:
    references = [Reference(kind="raw", name=n, version=1, digest=n) for n in "abcd"]
    old = PROVENANCE.model_copy(update={"created": datetime(2020, 1, 1, tzinfo=UTC)})

    def record(reference: Reference, parent: Reference) -> Record:
        provenance = old.model_copy(update={"parents": {"": parent}})
        return Record(reference=reference, files={}, **dict(provenance))

    a, b, c, d = references
    newer = [record(r.model_copy(update={"version": 2, "digest": r.digest * 2}), r) for r in (d,)]
    newer += [record(Reference(kind="raw", name=n, version=9, digest="9"), d) for n in "abc"]
    cycle = [record(a, b), record(b, a), record(c, a)]
    assert unneeded([*cycle, *newer], LATEST, NOW) == [cycle[2]]
