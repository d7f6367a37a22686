"""All checks, one after the other, whatever happens to one of them."""

from collections.abc import Callable, Iterator

from flows.doctor.findings import Finding, wrong
from flows.doctor.installation import INSTALL, device, libraries, python
from flows.doctor.services import credentials, prefect
from flows.doctor.store import store
from functory.errors import FunctoryError

__all__ = ["examine"]


def examine(digests: bool) -> Iterator[tuple[str, Finding]]:
    """Check the installation and the default store; give findings by their subjects.

    With `digests`, every file in the store is read.
    """
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "Python": python,
        "libraries": libraries,
        "device": device,
        "store": lambda: store(digests),
        "Prefect": prefect,
        "credentials": credentials,
    }
    for subject, check in checks.items():
        for finding in _found(check):
            yield subject, finding


def _found(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except FunctoryError as error:
        what, _, cure = str(error).rstrip(".").partition(": ")
        yield wrong(what, cure)
    # What is looked at may be broken in any way. The message stays untold: libraries put into it
    # what they were given, keys included.
    except Exception as error:
        yield wrong(f"cannot be checked ({type(error).__name__})", INSTALL)
