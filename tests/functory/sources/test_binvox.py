import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shape_folders import corner, encoded
from trimesh.exchange.binvox import binvox_bytes, load_binvox

from functory.errors import InputError
from functory.sources.binvox import read_binvox

arrays = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))


def read(content: bytes) -> np.ndarray:
    return read_binvox(io.BytesIO(content), "chair.binvox")


def file(runs: list[int], dim: str = "dim 2 2 2") -> bytes:
    return f"#binvox 1\n{dim}\ntranslate 0 0 0\nscale 1\ndata\n".encode() + bytes(runs)


def assert_refused(content: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(content)
    assert str(caught.value).startswith("chair.binvox")
    assert "\n" not in str(caught.value)


@given(arrays)
def test_round_trip(voxels: np.ndarray) -> None:
    found = read(encoded(voxels))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, voxels)


def test_x_is_slowest_and_y_fastest() -> None:
    # Voxels number 0 (x=y=z=0), 1 (y=1), 3 (z=1) and 12 (x=1) of 2 x 3 x 4.
    voxels = read(file([1, 2, 0, 1, 1, 1, 0, 8, 1, 1, 0, 11], "dim 2 3 4"))
    assert np.argwhere(voxels).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]


@given(hnp.arrays(bool, st.integers(2, 6).map(lambda side: (side, side, side))))
def test_agrees_with_the_reader_of_trimesh(voxels: np.ndarray) -> None:
    content = encoded(voxels)
    np.testing.assert_array_equal(read(content), load_binvox(io.BytesIO(content)).matrix)


@given(arrays, st.lists(st.integers(0, 1), max_size=8))
def test_empty_runs_change_nothing(voxels: np.ndarray, values: list[int]) -> None:
    empty = bytes(byte for value in values for byte in (value, 0))
    np.testing.assert_array_equal(read(encoded(voxels) + empty), voxels)


@pytest.mark.parametrize("shape", [(2, 3, 4), (8, 9, 7)])
def test_a_file_cut_at_any_byte_is_refused(shape: tuple[int, int, int]) -> None:
    content = encoded(corner(shape, (1, 1, 1)))
    read(content)
    for end in range(len(content)):
        assert_refused(content[:end], "truncated|no binvox|dimensions")


@given(st.binary(min_size=1, max_size=64), st.integers(0, 120))
def test_damage_never_raises_anything_else(noise: bytes, at: int) -> None:
    content = encoded(corner())
    with contextlib.suppress(InputError):
        found = read(content[:at] + noise + content[at + len(noise) :])
        assert found.dtype == bool
        assert found.ndim == 3


@pytest.mark.parametrize("magic", [b"", b"PK\x03\x04", b"\x89binvox 1\n", b"dim 2 2 2\ndata\n"])
def test_another_format(magic: bytes) -> None:
    assert_refused(magic + bytes([1, 8]), "is no binvox file")


@pytest.mark.parametrize("dim", ["", "dim", "dim 2 2", "dim 2 2 2 2", "dim a b c", "dim 2 2 1.5"])
def test_a_header_without_three_numbers(dim: str) -> None:
    assert_refused(file([1, 8], dim), "header")


@pytest.mark.parametrize("dim", ["dim 0 2 2", "dim -2 -2 2", "dim 1025 2 2", "dim 2 2 99999999999"])
def test_dimensions_out_of_range(dim: str) -> None:
    assert_refused(file([1, 8], dim), "has the dimensions .* 1 to 1024")


def test_a_header_without_an_end() -> None:
    assert_refused(b"#binvox 1\ndim 2 2 2\n" + b"#\n" * 10**6, "header")


@pytest.mark.parametrize("count", [0, 7, 9, 255])
def test_runs_of_another_sum(count: int) -> None:
    assert_refused(file([1, count]), f"its runs have {count} voxels and its header tells of 8")


def test_runs_are_counted_before_they_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functory.sources.binvox.rle_to_dense", None)
    assert_refused(file([1, 255] * 10**5), "its runs have")
    assert_refused(file([1, 255], "dim 1024 1024 1024"), "truncated")


def test_no_more_is_read_than_a_sound_file_can_have() -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0
            head = file([]) if not self.taken else b""
            self.taken += size
            return head.ljust(size, b"\0")

    endless = Endless()
    with pytest.raises(InputError, match="truncated"):
        read_binvox(endless, "chair.binvox")  # type: ignore[arg-type]
    assert endless.taken < 2**17


def test_values_other_than_0_and_1() -> None:
    assert_refused(file([2, 8]), "the values 0 and 1 alone")


def test_the_rest_of_the_header_may_be_missing() -> None:
    content = b"#binvox 1\ndim 2 2 2\ndata\n" + bytes([1, 8])
    assert read(content).all()
    assert read(binvox_bytes(np.array([0, 1], np.uint8), (1, 1, 1))).shape == (1, 1, 1)
