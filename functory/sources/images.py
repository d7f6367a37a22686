"""Images from where people have them: their files, data sets in known layouts, a hub, the demo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from functory.sources.celeba import CelebA, find_celeba_files, list_celeba
from functory.sources.cifar10 import Cifar10, find_cifar10, list_cifar10
from functory.sources.faces_demo import FacesDemo, demo_pictures
from functory.sources.image_files import ImageFiles, find_image_files, list_pictures
from functory.sources.image_parquet import ParquetImages, find_shards, list_shards
from functory.sources.images_hub import ImagesHub
from functory.sources.mnist import Mnist, find_mnist, list_mnist
from functory.sources.pictures import Picture

__all__ = ["ImageSource", "Images", "find_images", "licence_of", "pictures_of"]

Images = FacesDemo | ImageFiles | CelebA | Cifar10 | Mnist | ParquetImages | ImagesHub
ImageSource = Annotated[Images, Field(discriminator="kind")]


def find_images(source: Images) -> list[Path] | None:
    """Return the user's own files of a source, or None where it makes or downloads them."""
    match source:
        case ImageFiles():
            return find_image_files(source)
        case CelebA():
            return find_celeba_files(source)
        case Cifar10():
            return find_cifar10(source)
        case Mnist():
            return find_mnist(source)
        case ParquetImages():
            return find_shards(source)
    return None


def pictures_of(source: Images, files: Sequence[Path]) -> list[Picture]:
    """Return the pictures of a source, in the files that it has; no image is decoded."""
    match source:
        case FacesDemo():
            return demo_pictures(source)
        case ImageFiles():
            return list_pictures(source, files)
        case CelebA():
            return list_celeba(source, files)
        case Cifar10():
            return list_cifar10(source, files)
        case Mnist():
            return list_mnist(source, files)
        case ParquetImages():
            return list_shards(source, files)
        case ImagesHub():
            shards = ParquetImages(paths=tuple(str(path) for path in files))
            return list_shards(shards, files)


def licence_of(source: Images) -> str:
    """Return the licence or attribution that everything made from the source carries on."""
    match source:
        case FacesDemo():
            return "CC0-1.0 (synthetic faces drawn by Functory's demo generator)"
        case CelebA():
            return (
                "CelebA: non-commercial research only, no redistribution; cite Liu et al., Deep "
                "Learning Face Attributes in the Wild, ICCV 2015, and for CelebA-HQ Karras et al., "
                "Progressive Growing of GANs, ICLR 2018"
            )
        case Cifar10():
            return (
                "CIFAR-10, no licence stated; cite Krizhevsky, Learning Multiple Layers of "
                "Features from Tiny Images, 2009"
            )
        case Mnist():
            return "CC BY-SA 3.0 (MNIST, Y. LeCun and C. Cortes)"
        case _:
            return source.attribution or "not stated by the source"
