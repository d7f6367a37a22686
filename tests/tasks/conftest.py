"""Tiny runs of the flows, as plain functions, that several tests look at."""

import pytest
from images_pipeline import TINY_IMAGES, plain_images
from pipeline import TINY, plain
from shapes_pipeline import TINY_SHAPES, plain_shapes

from storage.references import Reference
from storage.versions import Store

Run = tuple[Store, dict[str, Reference]]


@pytest.fixture(scope="session")
def climate_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the flow `era5`; return its store and what each stage published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(tmp_path_factory.mktemp("climate")))
        return Store.default(), plain(TINY)


@pytest.fixture(scope="session")
def shapes_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the flow `shapenet`; return its store and what each stage published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(tmp_path_factory.mktemp("shapes")))
        return Store.default(), plain_shapes(TINY_SHAPES)


@pytest.fixture(scope="session")
def images_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the flow `celeba`; return its store and what each stage published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(tmp_path_factory.mktemp("images")))
        return Store.default(), plain_images(TINY_IMAGES)
