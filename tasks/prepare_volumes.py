"""Prepare volumes: from raw files to a signal set of sub-volumes."""

from collections import Counter

from functory.configuration import Config
from functory.sources.volume_preparation import VolumePreparation, prepare_volumes
from functory.sources.volumes import VolumeSource, scans_of
from functory.sources.volumes_demo import VolumesDemo
from storage.references import Reference
from tasks.acquire import raw_files
from tasks.stage import Outcome, Work, stage

__all__ = ["PrepareVolumes", "prepare_signals_of_volumes"]


class PrepareVolumes(Config):
    """What is prepared, and how."""

    source: VolumeSource
    """The source that was acquired: says how its files are read."""
    preparation: VolumePreparation = VolumePreparation()
    """Size, normalisation and split."""


@stage("signals", version=1)
def prepare_signals_of_volumes(work: Work, config: PrepareVolumes, raw: Reference) -> Outcome:
    """Read, cut into sub-volumes, leave out what is empty or repeated, and split by volume."""
    scans = scans_of(config.source, raw_files(work.path(raw)))
    licence = work.licence(raw)
    demo = isinstance(config.source, VolumesDemo)
    source = "synthetic volumes of Functory's demo generator" if demo else config.source.kind
    attributes = {"licence": licence, "source": source}
    signals = prepare_volumes(scans, config.preparation, work.result, attributes)
    summary = {
        "signals": signals.sizes["sample"],
        "grid": [signals.sizes[axis] for axis in ("z", "y", "x")],
        "volumes": signals.attrs["volumes"],
        "empty": signals.attrs["volumes_empty"],
        "repeated": signals.attrs["volumes_repeated"],
        "dropped": signals.attrs["subvolumes_dropped"],
        "splits": dict(sorted(Counter(signals["split"].values.tolist()).items())),
    }
    return Outcome(licence, summary)
