"""Attributes come back with their types, and what cannot is named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from functory.coding.attributes import NUMBERS, Attributes, from_attributes, to_attributes

plain = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.integers()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
)
numbers = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=1))
)


def through_json(attributes):
    coded, lost = from_attributes(attributes, "the Dataset")
    text = json.dumps(coded, allow_nan=False)
    return to_attributes(TypeAdapter(Attributes).validate_python(from_json(text))), lost


@settings(max_examples=30)
@given(st.dictionaries(st.text("abc", max_size=3), plain | st.lists(plain, max_size=3)))
def test_plain_attributes_come_back(attributes):
    assert through_json(attributes) == (attributes, [])


@settings(max_examples=50)
@given(numbers)
def test_numbers_come_back_with_their_type(array):
    found, lost = through_json({"a": array if array.ndim else array[()]})
    back = np.asarray(found["a"])
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert not lost


def test_what_files_have_comes_back():
    attributes = {
        "flag_meanings": np.array(["land", "sea"]),
        "fill": float("nan"),
        "ranges": (0, 1.5),
        "nested": {"a": [1, {"b": None}]},
    }
    found, lost = through_json(attributes)
    assert np.isnan(found.pop("fill"))
    assert found == {
        "flag_meanings": ["land", "sea"],
        "ranges": [0, 1.5],
        "nested": attributes["nested"],
    }
    assert not lost


@pytest.mark.parametrize(
    "value",
    [1j, b"bytes", object(), np.ones((2, 2)), np.ones(5000), "\ud800", {"a": float("inf")}, [[np]]],
    ids=["complex", "bytes", "object", "matrix", "long", "half", "infinite", "module"],
)
def test_what_has_no_place_is_named(value):
    found, lost = through_json({"odd": value, "title": "kept"})
    assert found == {"title": "kept"}
    assert len(lost) == 1
    assert lost[0].startswith("The attribute 'odd' of the Dataset is left out")


@pytest.mark.parametrize(
    "coded",
    [
        {},
        {"json": 1, "dtype": "int8"},
        {"dtype": "object", "values": 1},
        {"dtype": "int8", "values": 300},
        {"dtype": "int8", "values": None},
        {"dtype": "float32", "values": "text"},
        {"dtype": "float32", "values": [[1], [2]]},
        {"dtype": "float32", "values": [[1], 2]},
        {"dtype": ["int8"], "values": 1},
        {"dtype": "float64", "values": 10**400},
    ],
    ids=str,
)
def test_numbers_that_nobody_wrote_are_refused(coded):
    with pytest.raises(ValidationError):
        TypeAdapter(Attributes).validate_python({"a": coded})
