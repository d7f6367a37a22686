"""Prepare shapes: from raw files to a signal set of occupancies."""

from collections import Counter

from functory.configuration import Config
from functory.sources.shape_preparation import ShapePreparation, prepare_shapes
from functory.sources.shapes import ShapeSource, models_of
from functory.sources.shapes_demo import ShapesDemo
from storage.references import Reference
from tasks.acquire import raw_files
from tasks.stage import Outcome, Work, stage

__all__ = ["PrepareShapes", "prepare_signals_of_shapes"]


class PrepareShapes(Config):
    """What is prepared, and how."""

    source: ShapeSource
    """The source that was acquired: says how its files are read."""
    preparation: ShapePreparation
    """Size, split and augmentation."""


@stage("signals", version=1)
def prepare_signals_of_shapes(work: Work, config: PrepareShapes, raw: Reference) -> Outcome:
    """Read, downscale, drop what is empty or repeated, split by model, and augment."""
    models = models_of(config.source, raw_files(work.path(raw)))
    licence = work.licence(raw)
    demo = isinstance(config.source, ShapesDemo)
    source = "synthetic shapes of Functory's demo generator" if demo else config.source.kind
    attributes = {"licence": licence, "source": source}
    signals = prepare_shapes(models, config.preparation, work.result, attributes)
    summary = {
        "signals": signals.sizes["sample"],
        "grid": [signals.sizes[axis] for axis in ("z", "y", "x")],
        "models": signals.attrs["models"],
        "empty": signals.attrs["models_empty"],
        "repeated": signals.attrs["models_repeated"],
        "splits": dict(sorted(Counter(signals["split"].values.tolist()).items())),
        "classes": dict(sorted(Counter(signals["label"].values.tolist()).items())),
    }
    return Outcome(licence, summary)
