"""Prepare images: from raw files to a signal set of images."""

from collections import Counter

from functory.configuration import Config
from functory.sources.faces_demo import FacesDemo
from functory.sources.image_preparation import ImagePreparation, prepare_images
from functory.sources.images import ImageSource, pictures_of
from storage.references import Reference
from tasks.acquire import raw_files
from tasks.stage import Outcome, Work, stage

__all__ = ["PrepareImages", "prepare_signals_of_images"]


class PrepareImages(Config):
    """What is prepared, and how."""

    source: ImageSource
    """The source that was acquired: says how its files are read."""
    preparation: ImagePreparation
    """Size, crop, colour and split."""


@stage("signals", version=1)
def prepare_signals_of_images(work: Work, config: PrepareImages, raw: Reference) -> Outcome:
    """Read, crop and resize, leave out what is repeated, and split by picture."""
    pictures = pictures_of(config.source, raw_files(work.path(raw)))
    licence = work.licence(raw)
    demo = isinstance(config.source, FacesDemo)
    source = "synthetic faces of Functory's demo generator" if demo else config.source.kind
    attributes = {"licence": licence, "source": source}
    signals = prepare_images(pictures, config.preparation, work.result, attributes)
    labels = signals["label"].values.tolist() if "label" in signals.coords else []
    summary = {
        "signals": signals.sizes["sample"],
        "grid": [signals.sizes[axis] for axis in ("y", "x", "channel")],
        "pictures": signals.attrs["pictures"],
        "repeated": signals.attrs["pictures_repeated"],
        "skipped": signals.attrs["pictures_skipped"],
        "splits": dict(sorted(Counter(signals["split"].values.tolist()).items())),
        "classes": dict(sorted(Counter(labels).items())),
        "attributes": signals["attribute"].values.tolist() if "attribute" in signals else [],
    }
    return Outcome(licence, summary)
