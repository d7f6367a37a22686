"""How good generated images are: Fréchet distance, precision and recall, nearest images, SSIM."""

from pathlib import Path

import torch
from torch import Tensor

from functory.errors import InputError
from functory.training import Device, resolve_device

__all__ = [
    "frechet_distance",
    "inception_fid",
    "nearest_distances",
    "precision_recall",
    "ssim",
]

ROWS = 512  # compared with a whole set at once
VALUES = 2**19  # whose similarity is measured at once: some twenty copies are made of them
WINDOW = 1.5  # pixels, the deviation of SSIM's Gaussian window, which reaches 3.5 of them
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
RELEASE = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the Fréchet distance between the normal distributions fitted to two sets of features.

    |mean_a - mean_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), in the features' units squared. The last
    trace is the nuclear norm of A Bᵀ, where C_a = Aᵀ A: so no root of a product is taken, which
    rounding makes indefinite where there are fewer samples than features.

    Parameters
    ----------
    a, b
        (samples, features), two samples or more of each.

    References
    ----------
    Dowson and Landau 1982; used for images by Heusel et al. 2017 (https://arxiv.org/abs/1706.08500)
    """
    for part in (a, b):
        if len(part) < 2:
            raise InputError(
                f"A Fréchet distance needs two samples or more of each set, and one has "
                f"{len(part)}; draw more."
            )
    means = a.double().mean(0) - b.double().mean(0)
    root_a, root_b = _root(a), _root(b)
    shared = torch.linalg.svdvals(root_a @ root_b.mT).sum()
    spread = root_a.square().sum() + root_b.square().sum() - 2 * shared
    return max(0.0, float(means.square().sum() + spread))


def _root(features: Tensor) -> Tensor:
    """Return A of the covariance Aᵀ A, with as many rows as there are samples or features."""
    centred = features.double() - features.double().mean(0)
    return torch.linalg.qr(centred / (len(features) - 1) ** 0.5, mode="r").R


def precision_recall(real: Tensor, generated: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Return the share of generated samples among real ones, and of real among generated ones.

    A sample is among others if it is not farther from one of them than this one's own k-th nearest
    neighbour is. Both shares depend on the number of samples: compare sets of one size.

    Parameters
    ----------
    real, generated
        Features, (samples, features), more than `neighbours` of each.

    References
    ----------
    Kynkäänniemi et al. 2019 (https://arxiv.org/abs/1904.06991)
    """
    for what, part in (("real", real), ("generated", generated)):
        if len(part) <= neighbours:
            raise InputError(
                f"Precision and recall with {neighbours} neighbours need more than {neighbours} "
                f"samples, and there are {len(part)} {what} ones; draw more, or ask for fewer "
                "neighbours."
            )
    return _share_among(generated, real, neighbours), _share_among(real, generated, neighbours)


def _share_among(samples: Tensor, others: Tensor, neighbours: int) -> float:
    # each sample is its own nearest neighbour, at a distance of zero
    radii = torch.cat(
        [_distances(part, others).kthvalue(neighbours + 1).values for part in others.split(ROWS)]
    )
    among = [(_distances(part, others) <= radii).any(1) for part in samples.split(ROWS)]
    return float(torch.cat(among).double().mean())


def nearest_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return how far each of a, (samples, values), is from the nearest of b: (samples,)."""
    return torch.cat([_distances(part, b).amin(1) for part in a.split(ROWS)])


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # without the shortcut by a product of matrices, which would not give zero for equal samples
    return torch.cdist(a.float(), b.float(), compute_mode="donot_use_mm_for_euclid_dist")


def ssim(a: Tensor, b: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the structural similarity of each pair of images, at most 1: (images,), float64.

    The window is a Gaussian with a deviation of 1.5 pixels, in 11 × 11 pixels; it is narrower for
    images that it would not fit into. Where it would reach beyond the border nothing is measured.

    Parameters
    ----------
    a, b
        (images, height, width, channels).
    data_range
        Difference of the largest and the smallest value that pixels can have.

    References
    ----------
    Wang et al. 2004 (https://doi.org/10.1109/TIP.2003.819861)
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    reach = (min(a.shape[1:3]) - 1) // 2
    sigma = min(WINDOW, max(reach, 0.1) / 3.5)  # of one pixel, where only one fits
    border = int(3.5 * sigma + 0.5)
    inside = slice(border, -border or None)
    found = []
    rows = max(1, VALUES // a[0].numel())
    for one, other in zip(a.split(rows), b.split(rows), strict=True):
        _, everywhere = structural_similarity_index_measure(
            one.movedim(-1, 1).double(),
            other.movedim(-1, 1).double(),
            sigma=sigma,
            reduction="none",
            data_range=data_range,
            return_full_image=True,
        )
        found.append(everywhere[..., inside, inside].mean((1, 2, 3)))
    return torch.cat(found)


def inception_fid(real: Tensor, generated: Tensor, weights: Path, device: Device = "auto") -> float:
    """Return the Fréchet Inception distance of Heusel et al. 2017, with weights that the user has.

    Parameters
    ----------
    real, generated
        (images, height, width, channels) in [0, 1], of one channel or three.
    weights
        The file of torch-fidelity's release v0.2.0.

    Raises
    ------
    InputError
        If torch-fidelity is not installed, or there are no such weights.
    """
    if not weights.is_file():
        raise InputError(
            f"There are no weights of the Inception network at {weights}; fetch {WEIGHTS} from "
            f"{RELEASE} and put it there."
        )
    try:
        from torch_fidelity import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            FeatureExtractorInceptionV3,
        )
    except (ImportError, RuntimeError) as error:  # the latter of a torchvision for another torch
        raise InputError(
            f"FID needs torch-fidelity, which cannot be imported ({error}): install functory[fid], "
            f"with the torchvision that fits torch {torch.__version__}."
        ) from error
    try:
        # the extractor unpickles whatever the file holds: first make sure that it holds tensors
        torch.load(weights, map_location="cpu", weights_only=True)
        extractor = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    except Exception as error:  # of a dozen kinds, in torch and below it
        raise InputError(
            f"{weights} does not hold the weights of torch-fidelity's Inception network; fetch "
            f"{WEIGHTS} from {RELEASE}."
        ) from error
    extractor = extractor.to(resolve_device(device))

    def features(images: Tensor) -> Tensor:
        parts = []
        for part in images.split(32):
            levels = (part.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-1, 1)
            pictures = levels.expand(-1, 3, -1, -1).to(extractor.fc.weight.device)
            parts.append(extractor(pictures)[0].cpu())
        return torch.cat(parts)

    return frechet_distance(features(real), features(generated))
