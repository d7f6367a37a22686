"""Meta-learning from a signal set on disk: in this process, or in several that train together."""

import logging
from dataclasses import asdict
from pathlib import Path

import xarray as xr

from functory.checkpoints import pack, unpack
from functory.distributed import is_first, launch, processes
from functory.errors import InputError
from functory.fields.coordinates import coordinates_for
from functory.metalearning.outer import (
    HELD_VALUES,
    MetaLearning,
    MetaModel,
    build_model,
    meta_learn,
)
from functory.signals import (
    StoredSignals,
    grid_axes,
    sample_dimension,
    signals_of,
    some,
    split_indices,
)
from functory.sources.signal_sets import open_signals
from functory.training import History, resolve_device

__all__ = ["learn", "measured_split", "training_signals"]

LOG = logging.getLogger("functory.metalearning")
MEASURED = 32  # held-out signals that the learning curve is measured on


def training_signals(dataset: xr.Dataset, config: MetaLearning) -> StoredSignals:
    """Return the signals of a signal set that train.

    Raises
    ------
    InputError
        If they are fewer than a batch.
    """
    axes = grid_axes(dataset)
    grid = {axis: dataset[axis].values for axis in axes}
    coordinates = coordinates_for(config.coordinates, axes, grid, config.patches)
    train = {sample_dimension(dataset): split_indices(dataset, ["train"])}
    training = StoredSignals(dataset.isel(train), coordinates, config.by_area)
    if config.optimisation.batch > len(training):
        raise InputError(
            f"metalearn.optimisation.batch is {config.optimisation.batch}, but only "
            f"{len(training)} signals train; make the batch smaller."
        )
    return training


def measured_split(dataset: xr.Dataset) -> str:
    """Return the split that the learning curve is measured on."""
    return "validation" if "validation" in dataset["split"].values else "test"


def learn(signals: Path, config: MetaLearning, checkpoint: Path) -> tuple[MetaModel, History]:
    """Meta-learn a base network from a signal set, in as many processes as asked for.

    Several processes of this machine share every batch, and leave what they have learned beside
    the checkpoint.

    Raises
    ------
    InputError
        If there are too few signals to train or to measure on.
    FunctoryError
        If a process was lost.
    """
    count = processes(resolve_device(config.device), config.optimisation.batch)
    if count == 1:
        return _learn(signals, config, checkpoint)
    LOG.info("metalearn: %d processes share every batch", count)
    learned = checkpoint.with_suffix(".learned")
    if not learned.exists():
        launch(count, _learn_and_keep, signals, config, checkpoint, learned)
    state = unpack(learned.read_bytes())
    model = build_model(state["inputs"], state["outputs"], config)
    model.load_state_dict(state["model"])
    return model.eval(), History(**state["history"])


def _learn(signals: Path, config: MetaLearning, checkpoint: Path) -> tuple[MetaModel, History]:
    dataset = open_signals(signals)
    training, measured_on = training_signals(dataset, config), measured_split(dataset)
    held_out = split_indices(dataset, [measured_on])
    if not len(held_out):
        raise InputError(
            f"{signals} has no signals to measure on; give its split a share that tests."
        )
    measured = dataset.isel({sample_dimension(dataset): some(held_out, MEASURED)})
    return meta_learn(
        training.read() if training.values <= HELD_VALUES else training,
        signals_of(measured, training.coordinates, config.by_area),
        config,
        checkpoint,
    )


def _learn_and_keep(signals: Path, config: MetaLearning, checkpoint: Path, target: Path) -> None:
    """Learn as one of several processes; the first writes what all have learned."""
    model, history = _learn(signals, config, checkpoint)
    if not is_first():
        return
    network = model.network
    state = {
        "inputs": network.inputs,
        "outputs": network.outputs,
        "model": model.state_dict(),
        "history": asdict(history),
    }
    partial = target.with_suffix(".partial")
    partial.write_bytes(pack(state))
    partial.replace(target)
