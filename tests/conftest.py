"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# no test is about how long something takes
settings.register_profile("timeless", deadline=None)
settings.load_profile("timeless")

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes golden files anew."""
    parser.addoption("--regenerate", action="store_true", help="write golden files anew")


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real data, or skip the test with a reason."""
    folder = Path(os.environ.get("FUNCTORY_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set FUNCTORY_TEST_DATA to its folder")
    return folder
