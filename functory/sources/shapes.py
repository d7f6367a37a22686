"""3D shapes from where people have them: their files, ShapeNet's hub, or the demo's generator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from functory.sources.shape_files import ShapeFiles, list_models
from functory.sources.shape_models import ShapeModel
from functory.sources.shapenet_hub import ShapeNetHub, shapenet_licence
from functory.sources.shapes_demo import ShapesDemo, demo_models

__all__ = ["ShapeSource", "licence_of", "models_of"]

ShapeSource = Annotated[ShapesDemo | ShapeFiles | ShapeNetHub, Field(discriminator="kind")]


def licence_of(source: ShapesDemo | ShapeFiles | ShapeNetHub) -> str:
    """Return the licence or attribution that everything made from the source carries on."""
    match source:
        case ShapesDemo():
            return "CC0-1.0 (synthetic shapes made by Functory's demo generator)"
        case ShapeFiles():
            return source.attribution or "not stated by the source"
        case ShapeNetHub():
            return shapenet_licence()


def models_of(
    source: ShapesDemo | ShapeFiles | ShapeNetHub, paths: Sequence[Path]
) -> list[ShapeModel]:
    """Return the models of a source, each read when it is needed, in an order of their own."""
    if isinstance(source, ShapesDemo):
        return demo_models(source)
    if isinstance(source, ShapeNetHub):
        source = ShapeFiles(paths=tuple(map(str, paths)), classes=source.classes)
    return list_models(source, paths)
