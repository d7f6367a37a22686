"""A stage: a pure function of its version, its configuration and its inputs' contents.

These three give its key, and the store remembers which version a key led to. The store is the only
truth: Prefect runs, retries and shows stages, but does not cache them.
Decisions: docs/decisions/0002-stage-keys.md.
"""

import errno
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import zarr
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel
from safetensors import SafetensorError

from functory.errors import StoreError
from storage.references import Provenance, Record, Reference
from storage.versions import Store

__all__ = ["Outcome", "Stage", "Work", "stage", "summary_of"]

LOG = logging.getLogger("functory.stage")
PACKAGES = ("functory", "numpy", "torch", "xarray", "zarr", "nflows")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Work:
    """Where a stage works: its inputs in the store, and a folder of its own.

    What is in `result` when the stage ends is published. Files beside it (checkpoints) survive a
    killed process, and are there when the same work is taken up again.
    """

    store: Store
    folder: Path

    @property
    def result(self) -> Path:
        """The folder to publish."""
        return self.folder / "result"

    @property
    def checkpoint(self) -> Path:
        """Where training keeps its state."""
        return self.folder / "checkpoint.safetensors"

    def path(self, reference: Reference) -> Path:
        """Return the folder of an input."""
        return self.store.path(reference)

    def licence(self, reference: Reference) -> str:
        """Return the licence of the data that an input was made from."""
        return self.record(reference).licence

    def record(self, reference: Reference) -> Record:
        """Return what is recorded about an input."""
        record = self.store.record(reference)
        if record is None:
            raise StoreError(f"{reference} is not in the store {self.store}; run again.")
        return record


@dataclass(frozen=True)
class Outcome:
    """What a stage says about its result."""

    licence: str
    summary: dict[str, Any] = field(default_factory=dict)


class Stage:
    """A function made cached, retried and observable; call it in a flow, or `plain` without one.

    The function takes a `Work`, a configuration, and references as keyword arguments. `content`
    returns what else the result depends on: the digests of raw files.
    """

    def __init__(
        self,
        compute: Callable[..., Outcome],
        kind: str,
        version: int,
        content: Callable[[Store, Any], Any] | None,
        **options: Any,
    ) -> None:
        self.compute, self.kind, self.version, self.content = compute, kind, version, content
        self.name = compute.__name__
        self.__doc__ = compute.__doc__
        self.task = task(
            name=self.name,
            description=compute.__doc__,
            task_run_name=self.name + " {name}",
            cache_policy=NO_CACHE,
            **options,
        )(self._observed)

    def __call__(self, name: str, config: BaseModel, **inputs: Reference) -> Reference:
        """Run the stage as a Prefect task; return the version that it made or found."""
        result = self.task(name, config, **inputs)
        # a task that chose its state, as a cached one does, hands over the state itself
        return cast(Reference, result.result() if isinstance(result, State) else result)

    def plain(self, name: str, config: BaseModel, **inputs: Reference) -> Reference:
        """Run the stage without Prefect."""
        return self._run(name, config, inputs)[0]

    def key(self, store: Store, config: BaseModel, inputs: dict[str, Reference]) -> str:
        """Return the key of the result."""
        parts = {
            "stage": self.name,
            "version": self.version,
            "configuration": config.model_dump(mode="json"),
            "inputs": {name: reference.digest for name, reference in sorted(inputs.items())},
            "content": None if self.content is None else self.content(store, config),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _observed(
        self, name: str, config: BaseModel, **inputs: Reference
    ) -> Reference | State[Reference]:
        reference, cached = self._run(name, config, inputs)
        if cached:
            return Completed(name="Cached", message=f"{reference} is there already", data=reference)
        return reference

    def _run(
        self, name: str, config: BaseModel, inputs: dict[str, Reference]
    ) -> tuple[Reference, bool]:
        store, began = Store.default(), time.perf_counter()
        try:
            key = self.key(store, config, inputs)
            reference, cached = self._recall_or_compute(store, key, name, config, inputs)
        except (OSError, SafetensorError) as error:
            reason = _why_unwritable(error)
            if reason is None:
                raise
            raise StoreError(
                f"{self.name}: the store {store.root} cannot be written ({reason}); make "
                "room or mend its permissions, and run the same command again."
            ) from error
        seconds = time.perf_counter() - began
        done = "is there already" if cached else f"published in {seconds:.1f} s"
        fields = {
            "stage": f"{self.name}@{self.version}",
            "key": key,
            "result": str(reference),
            "inputs": {label: str(version) for label, version in inputs.items()},
            "cached": cached,
            "seconds": round(seconds, 3),
        }
        LOG.info("%s: %s %s", self.name, reference, done, extra=fields)
        return reference, cached

    def _recall_or_compute(
        self,
        store: Store,
        key: str,
        name: str,
        config: BaseModel,
        inputs: dict[str, Reference],
    ) -> tuple[Reference, bool]:
        found = store.recall(key)
        if found is None or store.unfinished(key):
            with store.workspace(key) as folder:
                found = store.recall(key)  # another process may have done it, and even died then
                if found is None:
                    return self._compute(store, folder, key, name, config, inputs), False
        if found.name != name:  # computed under another name: share its files
            record = store.record(found)
            assert record is not None  # recall has seen it
            found = store.publish(self.kind, name, store.path(found), _provenance(record))
        return found, True

    def _compute(
        self,
        store: Store,
        folder: Path,
        key: str,
        name: str,
        config: BaseModel,
        inputs: dict[str, Reference],
    ) -> Reference:
        work = Work(store, folder)
        if work.result.exists():  # unfinished: what can be resumed lies beside it
            shutil.rmtree(work.result)
        outcome = self.compute(work, config, **inputs)
        if (work.result / "zarr.json").exists():
            _consolidate(work.result)
        provenance = Provenance(
            created=datetime.now(UTC),
            stage=f"{self.name}@{self.version}",
            key=key,
            configuration=config.model_dump(mode="json"),
            parents=inputs,
            summary=outcome.summary,
            licence=outcome.licence,
            software={package: importlib.metadata.version(package) for package in PACKAGES},
        )
        reference = store.publish(self.kind, name, work.result, provenance)
        store.remember(key, reference)
        return reference


def stage(
    kind: str,
    version: int,
    content: Callable[[Store, Any], Any] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Outcome]], Stage]:
    """Make a function a stage that publishes versions of a kind.

    Raise `version` by hand whenever the function's results change.
    """
    return lambda compute: Stage(compute, kind, version, content, **options)


def summary_of(reference: Reference) -> dict[str, Any]:
    """Return what the stage that made a version says of it."""
    store = Store.default()
    return Work(store, store.root).record(reference).summary


def _provenance(record: Record) -> Provenance:
    return Provenance(**{name: getattr(record, name) for name in Provenance.model_fields})


def _why_unwritable(error: OSError | SafetensorError) -> str | None:
    """Return what the system said, if it could not write; None where something else is wrong."""
    if isinstance(error, OSError):
        number = error.errno
    else:  # what is written in Rust tells the number in its words
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = None if told is None else int(told[1])
    return os.strerror(number) if number in UNWRITABLE else None


def _consolidate(group: Path) -> None:
    """Put the metadata of all arrays into the group's own: xarray asks for it when it opens one."""
    with warnings.catch_warnings():
        # zarr-python and xarray have read and written it for years, but no text says so yet
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component")
        zarr.consolidate_metadata(group)
