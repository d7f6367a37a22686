"""From a flow to integers: a small network learns the flow's conditionals and is rounded."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PositiveInt
from torch import Tensor

from functory.coding.autoregressive_flow import (
    AutoregressiveFlow,
    AutoregressiveTraining,
    code_lengths,
    train_autoregressive_flow,
)
from functory.coding.examples import Examples, LinearPrediction, Statistics
from functory.coding.factorised import FactorisedModel
from functory.coding.integer_model import IntegerModel, as_symbols
from functory.coding.mixture_network import MixtureNetwork, rounded
from functory.configuration import Config
from functory.errors import InputError
from functory.optimisation import Optimisation
from functory.training import History, Step, batch, train

__all__ = ["DistillationTraining", "IntegerTraining", "distil", "train_integer_model"]

ENTRIES = 2**15  # of the flow's tables that a step compares: whole batches would be dear


class DistillationTraining(Config):
    """How the network that codes is trained."""

    units: PositiveInt = 4
    """Hidden units for each latent: the size of the model grows with it."""
    components: PositiveInt = 2
    """Logistics in each mixture."""
    imitation: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the loss that is the cross-entropy to the flow's symbols, not to the data's."""
    penalty: Annotated[float, Field(ge=0)] = 3.0
    """L2 penalty on the weights times the number of training vectors: fewer vectors, tighter."""
    optimisation: Optimisation = Optimisation(
        steps=1200,
        batch=256,
        rate=3e-3,
        schedule="cosine",
        warmup=50,
        evaluate_every=25,
        checkpoint_every=100,
    )
    """Adam; the parameters with the shortest code of held-out data are kept."""


class IntegerTraining(Config):
    """How an entropy model is trained: first a flow, then the integers that imitate it."""

    flow: AutoregressiveTraining = AutoregressiveTraining()
    """The teacher."""
    distillation: DistillationTraining = DistillationTraining()
    """The student, which codes."""


def distil(
    flow: AutoregressiveFlow,
    training: Examples,
    held_out: Examples,
    network: MixtureNetwork,
    config: DistillationTraining,
    checkpoint: Path | None = None,
) -> History:
    """Fit a network to symbols and to what the flow thinks possible in their place.

    The parameters with the shortest code of the held-out examples, a row's `log2_likelihood` per
    latent, are kept.
    """
    optimisation, latents = config.optimisation, len(network.levels)
    compared = max(1, ENTRIES // (latents * int(network.levels.max())))
    flow = flow.cpu().eval()

    def loss(step: Step) -> Tensor:
        chosen = batch(len(training), optimisation.batch, optimisation.seed, step.number)
        truth = -network.log2_probabilities(training[chosen]).mean()
        if config.imitation == 0:
            return truth
        some = training[chosen[:compared]]
        with torch.no_grad():
            wanted = flow.tables(some)
        imitation = -(wanted * network.log2_tables(some)).sum(-1).mean()
        return config.imitation * imitation + (1 - config.imitation) * truth

    def evaluate() -> dict[str, float]:
        return {"log2_likelihood": -float(code_lengths(network, held_out).mean()) / latents}

    decay = config.penalty / len(training)
    return train(
        network,
        loss,
        optimisation,
        label="integer network",
        groups=[{"params": list(network.parameters()), "weight_decay": decay}],
        evaluate=evaluate,
        select="log2_likelihood",
        checkpoint=checkpoint,
    )


def train_integer_model(
    training: ArrayLike,
    held_out: ArrayLike,
    levels: ArrayLike,
    config: IntegerTraining,
    checkpoint: Path | None = None,
) -> tuple[IntegerModel, AutoregressiveFlow, dict[str, float]]:
    """Train a flow and the integer model that imitates it.

    Parameters
    ----------
    training, held_out
        Symbols (chunks, signals, *cells, latents); the two may differ in all but the number of
        axes and latents. The flow and the network are standardised by their statistics, so that
        neither the quantiser's offset nor its step matters.
    levels
        Size of each latent's alphabet, (latents,).
    checkpoint
        Beside this file, under its name and `-flow` and `-network`, both trainings keep their
        states.

    Returns
    -------
    The integer model, the flow, and the bits per latent that the held-out symbols cost under
    `histogram` (one for each latent), `flow`, `network` (before rounding) and `integers`.
    """
    alphabet = np.asarray(levels, dtype=np.int64)
    symbols, asked = (as_symbols(part, alphabet) for part in (training, held_out))
    if symbols.size == 0 or asked.size == 0 or symbols.ndim != asked.ndim:
        raise InputError(
            f"an entropy model learns from training symbols of shape {symbols.shape} and is chosen "
            f"by held-out ones of shape {asked.shape}: both need signals, on the same lattice."
        )
    statistics = Statistics.of(symbols)
    examples, others = Examples.of(symbols, statistics), Examples.of(asked, statistics)
    states = [
        None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}-{name}")
        for name in ("flow", "network")
    ]
    prediction = LinearPrediction.fit(examples, others)
    flow, _ = train_autoregressive_flow(
        examples, others, alphabet, statistics, prediction, config.flow, states[0]
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(config.distillation.optimisation.seed)
        network = MixtureNetwork(
            symbols.ndim - 3,
            alphabet,
            statistics,
            prediction,
            config.distillation.units,
            config.distillation.components,
        )
    distil(flow, examples, others, network, config.distillation, states[1])
    model = rounded(network)
    report = {
        "histogram": histogram_bits(symbols, asked, alphabet),
        "flow": code_lengths(flow, others).mean(),
        "network": code_lengths(network, others).mean(),
        "integers": model.bits(asked).mean(),
    }
    return model, flow, {name: float(bits) / len(alphabet) for name, bits in report.items()}


def histogram_bits(
    training: NDArray[np.int32], asked: NDArray[np.int32], levels: NDArray[np.int64]
) -> float:
    """Return the mean bits of a vector under one histogram for each latent."""
    columns = zip(
        training.reshape(-1, len(levels)).T, asked.reshape(-1, len(levels)).T, levels, strict=True
    )
    return sum(
        float(FactorisedModel.fit(known[:, None], int(size)).bits(new[:, None]).mean())
        for known, new, size in columns
    )
