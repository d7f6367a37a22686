"""Patches: cut and put together again, blended without seams, at any coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from functory.fields.coordinates import Patches, coordinates_for
from functory.fields.patches import cells_of, cut, decode_patches, window_points
from functory.fields.siren import LatentModulatedSiren, SirenConfig

NETWORK = LatentModulatedSiren(2, 3, SirenConfig(latents=4, width=8, depth=3, omega_0=5))
PATCHES = st.builds(
    lambda size, share: Patches(size=size, overlap=int(size * share / 2)),
    st.integers(2, 6),
    st.floats(0, 1),
)


def functions(shape: tuple[int, ...], patches: Patches, signals: int = 2) -> torch.Tensor:
    """Return different modulations for every cell."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(signals, *cells_of(shape, patches), 4, generator=generator)


def units(shape: tuple[int, int], patches: Patches) -> tuple[np.ndarray, ...]:
    """Return the pixel centres of a grid, in cells, by way of a grid from 0 to 1."""
    grid = {n: (np.arange(k) + 0.5) / k for n, k in zip("yx", shape, strict=True)}
    return coordinates_for("box", ("y", "x"), grid, patches).units(grid, grid)


@given(st.tuples(st.integers(2, 13), st.integers(2, 13)), PATCHES)
def test_what_is_cut_is_what_lies_in_the_cells(shape: tuple[int, int], patches: Patches) -> None:
    image = torch.rand(2, *shape, 3, generator=torch.Generator().manual_seed(1))
    windows = cut(image.flatten(1, 2), shape, patches)
    wide = patches.size + 2 * patches.overlap
    rows, columns = cells_of(shape, patches)
    windows = windows.view(2, rows, columns, wide, wide, 3)
    inner = slice(patches.overlap, patches.overlap + patches.size)
    put = windows[:, :, :, inner, inner].permute(0, 1, 3, 2, 4, 5)
    whole = put.reshape(2, rows * patches.size, columns * patches.size, 3)
    assert torch.equal(whole[:, : shape[0], : shape[1]], image)


def test_windows_reach_into_neighbours_and_mirror_at_the_edges() -> None:
    row = torch.arange(5.0)[None, :, None]
    windows = cut(row, (5,), Patches(size=2, overlap=1))
    assert windows[..., 0].tolist() == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 4, 3]]


@given(st.tuples(st.integers(2, 9), st.integers(2, 9)), PATCHES)
def test_at_the_grid_without_blending_a_pixel_is_its_own_cells(
    shape: tuple[int, int], patches: Patches
) -> None:
    phi = functions(shape, patches)
    decoded = decode_patches(NETWORK, phi, units(shape, patches), patches, blend=False)
    again = cut(decoded, shape, patches).view(2, *phi.shape[1:3], -1, 3)
    local = window_points(2, patches)
    own = NETWORK(local, phi.flatten(0, 2)).view(again.shape)
    inside = (local.abs() < 1).all(1)
    rows, columns = shape[0] // patches.size, shape[1] // patches.size  # cells that lie within
    found = again[:, :rows, :columns][..., inside, :]
    torch.testing.assert_close(found, own[:, :rows, :columns][..., inside, :], atol=2e-6, rtol=0)


@given(st.tuples(st.integers(2, 9), st.integers(2, 9)), PATCHES, st.booleans(), st.integers(0, 99))
def test_weights_sum_to_one_wherever_one_looks(
    shape: tuple[int, int], patches: Patches, blend: bool, seed: int
) -> None:
    flat = LatentModulatedSiren(2, 1, SirenConfig(latents=4, width=4, depth=2))
    torch.nn.init.zeros_(flat.last.weight)
    torch.nn.init.zeros_(flat.last.bias)
    cells = cells_of(shape, patches)
    draw = np.random.default_rng(seed)
    at = (
        [draw.uniform(-0.3, n + 0.3, 7) for n in cells]
        if seed
        else [np.arange(n + 1.0) for n in cells]
    )
    with torch.no_grad():
        values = decode_patches(flat, functions(shape, patches), at, patches, blend)
    torch.testing.assert_close(values, torch.full_like(values, 0.5))


def test_blending_leaves_no_seam_and_its_absence_does() -> None:
    patches = Patches(size=4, overlap=1)
    phi = 3 * functions((8, 8), patches)
    edge = (np.array([1 - 1e-6, 1 + 1e-6]), np.linspace(0.3, 1.7, 5))

    def jump(blend: bool) -> float:
        values = decode_patches(NETWORK, phi, edge, patches, blend).view(2, 2, 5, 3)
        return float((values[:, 0] - values[:, 1]).abs().max())

    assert jump(blend=True) < 1e-4
    assert jump(blend=False) > 1e-2


def test_a_place_has_its_value_whatever_else_is_asked_for() -> None:
    patches = Patches(size=4, overlap=2)
    phi = functions((12, 12), patches)
    y, x = np.linspace(0, 3, 17), np.linspace(0, 3, 23)
    whole = decode_patches(NETWORK, phi, (y, x), patches).view(2, 17, 23, 3)
    part = decode_patches(NETWORK, phi, (y[5:6], x[3::4]), patches).view(2, 1, 5, 3)
    torch.testing.assert_close(part, whole[:, 5:6, 3::4])


def test_only_neighbours_may_be_blended() -> None:
    with pytest.raises(ValueError, match="at most half"):
        Patches(size=4, overlap=3)
