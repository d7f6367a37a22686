"""Values of coordinates: bit for bit, in few bytes, and nothing from bytes that hold no values."""

import cftime
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from functory.coding.coordinate_values import (
    Values,
    check_values,
    compress,
    decompress,
    footprint,
    pack,
    stored_bytes,
    unpack,
)

DTYPES = ["bool", "int8", "uint8", ">i4", "uint32", "int64", "uint64", "float16", ">f4", "float64"]
TIMES = ["datetime64[ns]", "datetime64[s]", "timedelta64[ms]", "timedelta64[ns]"]


def through_bytes(values):
    """Return values after packing and unpacking, and how many bytes they were."""
    name, coded, raw = pack(values)
    check_values(name, coded)
    assert len(raw) == stored_bytes(coded, values.size)
    back = unpack(name, Values.model_validate_json(coded.model_dump_json()), values.shape, raw)
    return back, len(raw)


@settings(max_examples=80)
@given(
    st.sampled_from(DTYPES + TIMES).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=7))
    )
)
def test_numbers_and_times_come_back_bit_for_bit(values):
    back, _ = through_bytes(values)
    native = values.astype(values.dtype.newbyteorder("="))
    assert (back.dtype, back.shape) == (native.dtype, native.shape)
    assert back.tobytes() == native.tobytes()


@settings(max_examples=30)
@given(
    arrays(
        st.sampled_from(["U5", object]),
        array_shapes(min_dims=0, max_dims=2),
        elements=st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5
        ),
    )
)
def test_texts_come_back(values):
    back, _ = through_bytes(values)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


def test_texts_of_the_world_come_back():
    names = np.array(["Zürich", "東京", "", "🜨"])
    for values in (names, names.astype(object), names[1], np.char.encode(names, "utf-8")):
        back, _ = through_bytes(np.asarray(values))
        np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard", "julian", "all_leap"])
def test_dates_of_all_calendars_come_back(calendar):
    dates = [
        cftime.datetime(1850 + i, 1 + i % 12, 28, 6, 0, 1, 5 * i, calendar=calendar)
        for i in range(50)
    ]
    back, _ = through_bytes(np.array(dates, dtype=object).reshape(25, 2))
    assert back.shape == (25, 2)
    assert back.ravel().tolist() == dates
    assert {date.calendar for date in back.flat} == {calendar}


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(90, -90, 721),
        np.arange(0, 360, 0.25),
        np.linspace(0, 360, 480, endpoint=False, dtype="float32"),
        (90 - 0.1 * np.arange(1801)).astype("float32"),
        -1 + 0.1 * np.arange(16_000),
        np.arange(10)[::-1] * 7,
        np.arange("2019-03-01", "2019-04-01", dtype="datetime64[h]").astype("datetime64[ns]"),
        np.full(9, 2.5),
        np.array(2.5),
        np.zeros(0, "float32"),
        np.array([True, True]),
    ],
    ids=lambda values: f"{values.dtype}-{values.size}",
)
def test_equally_spaced_values_store_nothing(values):
    back, stored = through_bytes(values)
    assert stored == 0
    assert back.tobytes() == values.tobytes()


def test_counts_take_as_few_bytes_as_they_need():
    months = np.array([f"{y}-{m:02}-16" for y in (2001, 2002) for m in range(1, 13)], "M8[ns]")
    assert through_bytes(months)[1] == months.size * 2
    assert through_bytes(np.array([2**63, 0, 5], "uint64"))[1] == 3 * 8
    assert through_bytes(np.array([10**15 + 1000, 10**15, 10**15 + 4000]))[1] == 3


@pytest.mark.parametrize(
    "values",
    [
        np.array([1j]),
        np.array([1, "a"], dtype=object),
        np.array(["a", None], dtype=object),
        np.array([cftime.datetime(2000, 1, 1), None], dtype=object),
        np.array(["ends in nothing\0"], dtype=object),
        np.array(["\ud800"]),
        np.array(["2000-01-01"], "datetime64[D]"),
    ],
    ids=str,
)
def test_what_would_not_come_back_is_refused(values):
    with pytest.raises((TypeError, ValueError)):
        pack(values)


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_compressed_values_come_apart_again(parts):
    compressed = compress(parts)
    assert decompress(compressed, map(len, parts)) == parts
    for wrong in (compressed + b"\0", compressed[:-1]) if compressed else (b"\0",):
        with pytest.raises(ValueError, match="compressed values"):
            decompress(wrong, map(len, parts))
    with pytest.raises(ValueError, match="not the"):
        decompress(compressed, [*map(len, parts), 1])


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("complex128", None),
        ("object", None),
        ("U5", "u1"),
        ("int8", "f4"),
        ("float32", "f8"),
        ("float64", "u8"),
        ("datetime64[D]", None),
        ("datetime64[ns]", "S8"),
        ("cftime[noleap]", "f8"),
        ("os.system", None),
    ],
)
def test_types_that_do_not_fit_are_refused(name, stored):
    with pytest.raises(ValueError, match="type"):
        check_values(name, Values(stored=stored))


def test_memory_is_counted_before_it_is_taken():
    assert footprint("float64", Values(), 2**40) >= 2**43
    assert footprint("U999999", Values(stored="S1"), 1000) > 4e9
    assert footprint("object", Values(stored="S999999"), 1000) > 4e9
    assert footprint("cftime[noleap]", Values(), 1000) > 1e5
