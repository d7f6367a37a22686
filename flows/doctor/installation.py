"""Checks of what is installed: Python, the libraries, the device."""

import importlib.metadata
import os
import platform
import shutil
import tomllib
from collections.abc import Iterator
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from flows.catalogue import ROOT
from flows.doctor.findings import Finding, fine, warning, wrong

__all__ = ["INSTALL", "device", "libraries", "python"]

INSTALL = "run `pip install -c constraints.txt -e .` in the clone of Functory"

# pip lets newer minor releases than those of constraints.txt in; what they break, and how
HELD_BACK = {
    "fastapi": "breaks every flow",
    "sqlalchemy": "makes the server lose scheduled runs, silently",
}
TOLD = ("prefect", "fastapi", "sqlalchemy", "torch", "nflows", "xarray", "zarr")


def python() -> Iterator[Finding]:
    """Check the version of Python."""
    version, supported = platform.python_version(), SpecifierSet(_project()["requires-python"])
    if supported.contains(version, prereleases=True):
        yield fine(f"Python {version}")
    else:
        yield wrong(
            f"this is Python {version}, but Functory needs {supported}",
            "make a virtual environment with such a Python and install Functory in it",
        )


def libraries() -> Iterator[Finding]:
    """Check that libraries are there, in versions that work together."""
    tried = _tried()
    faults = [*_refused(), *_held_back(tried)]
    yield from faults
    other = [
        f"{name} {there} ({version})"
        for name, version in tried.items()
        if (there := _installed(name)) and Version(there).public != version
    ]
    if other:
        yield warning(
            f"{len(other)} libraries have other versions than those tried together (in brackets): "
            + _few(other),
            f"only if something fails: {INSTALL}",
        )
    if not faults:
        yield fine(", ".join(f"{name} {_installed(name)}" for name in TOLD))


def _refused() -> Iterator[Finding]:
    """Compare what is installed with what pyproject.toml asks for."""
    for text in _project()["dependencies"]:
        requirement = Requirement(text)
        there = _installed(requirement.name)
        if there is None:
            yield wrong(f"{requirement.name} is not installed", INSTALL)
        elif not requirement.specifier.contains(there, prereleases=True):
            yield wrong(f"{requirement.name} is {there}, but Functory needs {text}", INSTALL)


def _held_back(tried: dict[str, str]) -> Iterator[Finding]:
    """Find libraries newer than the minor release that constraints.txt holds back."""
    for name, harm in HELD_BACK.items():
        there, held = _installed(name), Version(tried[name])
        if there is not None and Version(there).release[:2] > held.release[:2]:
            yield wrong(
                f"{name} {there} {harm}: newer than {held.major}.{held.minor} does not go with "
                f"prefect {_installed('prefect')}",
                f"run `pip install -c constraints.txt {name}` in the clone of Functory",
            )


def device() -> Iterator[Finding]:
    """Check what there is to compute with."""
    import torch  # takes seconds, and may be what is broken

    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    if threads > cores:
        yield warning(
            f"torch uses {threads} threads on {cores} cores",
            f"unset OMP_NUM_THREADS, or set it to {cores} or less",
        )
    else:
        yield fine(f"torch uses {threads} threads on {cores} cores")
    # unless the user has said else, the library has asked for it
    if (policy := os.environ.get("OMP_WAIT_POLICY", "")).upper() != "PASSIVE":
        yield warning(
            f"OMP_WAIT_POLICY is {policy}: idle threads spin, and slow down what else runs",
            "unset OMP_WAIT_POLICY, or set it to PASSIVE",
        )
    if torch.cuda.is_available():
        yield _gpu(torch)
    elif shutil.which("nvidia-smi"):
        yield warning(
            f"there is a driver for an NVIDIA GPU, but torch {torch.__version__} sees no GPU",
            "install the build of the same torch for your CUDA (https://pytorch.org), or look at "
            "`nvidia-smi` and CUDA_VISIBLE_DEVICES",
        )
    else:
        yield fine("no GPU: everything runs on the CPU")


def _gpu(torch: Any) -> Finding:
    name = torch.cuda.get_device_name()
    try:
        ones = torch.ones(1024, device="cuda")
        if float(ones @ ones) != 1024:
            raise RuntimeError
    except (RuntimeError, AssertionError):  # the second where torch was built without CUDA
        return wrong(
            f"the GPU {name} is seen, but cannot compute",
            "look for other processes on it and for its driver with `nvidia-smi`, or set "
            "CUDA_VISIBLE_DEVICES to nothing to use the CPU",
        )
    return fine(f"GPU: {name}, {torch.cuda.device_count()} in all")


def _project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project: dict[str, Any] = tomllib.load(stream)["project"]
    return project


def _tried() -> dict[str, str]:
    """Return the versions of constraints.txt, by names in lower case."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower(): version for name, version in pins}


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")
