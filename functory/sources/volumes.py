"""Volumes from where people have them: their NIfTI files, or the demo's generator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from functory.sources.scans import NiftiFiles, Scan, find_nifti, list_nifti
from functory.sources.volumes_demo import VolumesDemo, demo_scans

__all__ = ["VolumeSource", "Volumes", "find_volumes", "licence_of", "scans_of"]

Volumes = VolumesDemo | NiftiFiles
VolumeSource = Annotated[Volumes, Field(discriminator="kind")]


def find_volumes(source: Volumes) -> list[Path] | None:
    """Return the user's own files of a source, or None where it makes its volumes."""
    return find_nifti(source) if isinstance(source, NiftiFiles) else None


def scans_of(source: Volumes, files: Sequence[Path]) -> list[Scan]:
    """Return the volumes of a source, in the files that it has; no voxel is read."""
    match source:
        case VolumesDemo():
            return demo_scans(source)
        case NiftiFiles():
            return list_nifti(source, files)


def licence_of(source: Volumes) -> str:
    """Return the licence or attribution that everything made from the source carries on."""
    match source:
        case VolumesDemo():
            return "CC0-1.0 (synthetic volumes made by Functory's demo generator)"
        case NiftiFiles():
            return source.attribution or "not stated by the source"
