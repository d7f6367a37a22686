"""Diffusions as files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from functory.errors import StoreError
from functory.models.denoisers import ResidualPerceptronConfig, UNetConfig
from functory.models.diffusion import Diffusion, DiffusionConfig
from storage.diffusions import DIFFUSION, read_diffusion, write_diffusion


def diffusion(shape: tuple[int, ...], network: ResidualPerceptronConfig | UNetConfig) -> Diffusion:
    """Return a diffusion whose average is neither its network nor what it began with."""
    torch.manual_seed(3)
    config = DiffusionConfig(timesteps=20, first=0.01, last=0.3, network=network)
    made = Diffusion(shape, torch.randn(shape[-1]), torch.rand(shape[-1]) + 0.1, config)
    for parameter in (*made.average.parameters(), *made.network.parameters()):
        parameter.data.normal_(0, 0.1)
    return made


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((3,), ResidualPerceptronConfig(width=8, blocks=2)),
        ((2, 3, 4), ResidualPerceptronConfig(width=8, blocks=1)),
        ((6, 6, 4), UNetConfig(channels=8, levels=2)),
    ],
)
def test_a_diffusion_samples_the_same_after_writing(
    tmp_path: Path, shape: tuple[int, ...], network: ResidualPerceptronConfig | UNetConfig
) -> None:
    written = diffusion(shape, network)
    write_diffusion(tmp_path, written)
    state = torch.get_rng_state()
    read = read_diffusion(tmp_path)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert read.config == written.config
    for steps in (5, 20):
        assert torch.equal(read.sample(4, steps, seed=1), written.sample(4, steps, seed=1))


def test_the_same_diffusion_is_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        write_diffusion(tmp_path, diffusion((3,), ResidualPerceptronConfig(width=8)))
        contents.append((tmp_path / DIFFUSION).read_bytes())
    assert contents[0] == contents[1]


def test_where_there_is_no_diffusion(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no diffusion at"):
        read_diffusion(tmp_path)[0]


def test_weights_that_do_not_say_what_they_are(tmp_path: Path) -> None:
    save_file({"mean": torch.zeros(3)}, tmp_path / DIFFUSION)
    with pytest.raises(StoreError, match="do not say which diffusion"):
        read_diffusion(tmp_path)[0]
