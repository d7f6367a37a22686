"""Do the functions hold between the points that they were fitted at? Against bicubic interpolation.

Patches of 64×64 points are the truth: of one global ERA5 temperature field at 0.25°, and of the
Kodak photographs. Networks are trained on means over blocks of 2×2 or 4×4 points, and signals are
fitted to these; the functions are then evaluated at all 64×64 points. PSNR of patches that did
not train, in dB: at the points of the fit, at all points, of bicubic interpolation of the true
means, and of bicubic interpolation of the functions' values at the points of the fit.
"""

import argparse

import datasets
import numpy as np
import torch
import xarray as xr
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from functory.fields.siren import SirenConfig
from functory.metalearning.outer import MetaLearning, meta_learn
from functory.metalearning.tangent import TangentStart
from functory.optimisation import Optimisation
from functory.signals import Signals

SIZE = 64


def patches(image: np.ndarray) -> Tensor:
    """Cut (rows, columns, channels) into (patches, channels, 64, 64)."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    cut = tensor.unfold(1, SIZE, SIZE).unfold(2, SIZE, SIZE)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


def temperature() -> tuple[Tensor, Tensor]:
    path = datasets.DATA / "climate" / "era5_t2m_global_0p25.grib"
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as dataset:
        values = dataset["t2m"].values.squeeze()
    found = patches(((values - values.min()) / np.ptp(values))[..., None].astype(np.float32))
    found = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]
    return found[:-48], found[-48:]


def photographs() -> tuple[Tensor, Tensor]:
    files = sorted((datasets.DATA / "images" / "kodak").rglob("*.png"))
    cut = [patches(np.asarray(Image.open(f).convert("RGB"), np.float32) / 255) for f in files]
    return torch.cat(cut[:20]), torch.cat(cut[20:])  # the last four photographs do not train


def points(size: int) -> Tensor:
    centres = (torch.arange(size) + 0.5) / size * 2 - 1
    return torch.cartesian_prod(centres, centres)


def signals(images: Tensor) -> Signals:
    return Signals(points(images.shape[-1]), images.flatten(2).mT)


def db(first: Tensor, second: Tensor) -> float:
    return float(-10 * (first - second).square().mean().log10())


def bicubic(images: Tensor) -> Tensor:
    return interpolate(images, size=(SIZE, SIZE), mode="bicubic", align_corners=False)


def compare(training: Tensor, test: Tensor, factor: int, steps: int, omega: float) -> list[float]:
    low, few = avg_pool2d(training, factor), avg_pool2d(test, factor)
    config = MetaLearning(
        network=SirenConfig(latents=64, width=64, depth=5, omega_0=omega),
        tangent=TangentStart(steps=steps // 2),
        optimisation=Optimisation(
            steps=steps, batch=16, rate=1e-3, optimiser="soap", schedule="cosine", warmup=20
        ),
        device="cpu",
    )
    model, _ = meta_learn(signals(low), signals(few.narrow(0, 0, 8)), config)
    with torch.no_grad():
        phi = model.solver(model.network, signals(few), 2)
        coarse = model.network(points(few.shape[-1]), phi).mT.reshape(few.shape)
        parts = [model.network(points(SIZE), part) for part in phi.split(16)]
        fine = torch.cat(parts).mT.reshape(test.shape)
    return [db(coarse, few), db(fine, test), db(bicubic(few), test), db(bicubic(coarse), test)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600, help="outer steps of each training")
    parser.add_argument("--omega", type=float, default=15, help="omega_0 of the networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':<14}{'finer':>6}{'at the fit':>12}{'finer':>8}{'bicubic':>9}{'of values':>11}")
    for name, read in (("temperature", temperature), ("photographs", photographs)):
        training, test = read()
        for factor in (2, 4):
            found = compare(training, test, factor, arguments.steps, arguments.omega)
            cells = "".join(f"{v:>{w}.2f}" for v, w in zip(found, (12, 8, 9, 11), strict=True))
            print(f"{name:<14}{factor:>5}x{cells}", flush=True)


if __name__ == "__main__":
    main()
