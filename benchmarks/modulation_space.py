"""Are modulations as good to model when Gauss-Newton steps find them? Against meta-SGD, on MNIST.

Meta-SGD trains for the given CPU seconds. Gauss-Newton trains with more and more outer steps until
it is as good in PSNR, and once more for as many CPU seconds. For each: the accuracy of a small
classifier on the modulations; the negative log-likelihood of held-out modulations under a flow
prior, in a gauge where a step of one in any latent changes the function by one (root mean square,
at phi = 0), so that solvers can be compared; and how far decoded samples of the prior are from the
test digits: the Frechet distance of normal distributions over 64 principal components.
"""

import argparse
import math
import statistics
from collections.abc import Iterator

import datasets
import torch
from solver import Cell
from solver import train as train_solver
from torch import Tensor, nn

from functory.metalearning.fitting import fit
from functory.metalearning.gauss_newton import GaussNewton, GaussNewtonSteps
from functory.metalearning.outer import MetaModel
from functory.models.flow_prior import FlowConfig, FlowTraining, train_flow
from functory.models.principal_components import PrincipalComponents
from functory.optimisation import Optimisation
from functory.quality import psnr
from functory.signals import Signals
from functory.training import Step, batch, train

LATENTS = 64
FLOW = FlowTraining(
    flow=FlowConfig(layers=4, width=64, dropout=0.1),
    optimisation=Optimisation(
        steps=600, batch=128, rate=2e-3, schedule="inverse-sqrt", warmup=60, evaluate_every=100
    ),
)


def models(seconds: float) -> Iterator[tuple[str, MetaModel]]:
    """Yield the trained solvers: meta-SGD, then Gauss-Newton as good, then as long."""
    _, test = datasets.read("mnist")
    reference = train_solver(Cell("mnist", "meta-SGD", LATENTS, seconds)).model
    yield "meta-SGD", reference
    wanted = psnr(fit(reference.network, reference.solver, test)[1]["mse"])
    steps = 10
    while True:
        model = train_solver(Cell("mnist", "Gauss-Newton", LATENTS, seconds), steps).model
        if psnr(fit(model.network, model.solver, test)[1]["mse"]) >= wanted:
            break
        steps *= 2
    yield f"Gauss-Newton, {steps} outer steps", model
    as_long = train_solver(Cell("mnist", "Gauss-Newton", LATENTS, seconds)).model
    yield "Gauss-Newton, as long", as_long


def gauged(model: MetaModel, signals: Signals) -> Tensor:
    """Return modulations in the gauge where J'J / n at phi = 0 is the identity."""
    factor = GaussNewtonSteps(GaussNewton(damping=1e-9)).projector(model.network, signals).factor
    phi, _ = fit(model.network, model.solver, signals)
    return (phi.double() @ factor).float().detach()


def accuracy(train_phi: Tensor, train_labels: Tensor, phi: Tensor, labels: Tensor) -> list[float]:
    """Return the test accuracy of a small network, for three seeds."""
    mean, deviation = train_phi.mean(0), train_phi.std(0)
    known, unknown = (train_phi - mean) / deviation, (phi - mean) / deviation
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        width = 256
        network = nn.Sequential(
            nn.Linear(LATENTS, width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, 10),
        )

        def loss(step: Step, network: nn.Module = network, seed: int = seed) -> Tensor:
            chosen = batch(len(known), 128, seed, step.number)
            return nn.functional.cross_entropy(network(known[chosen]), train_labels[chosen])

        optimisation = Optimisation(steps=2000, batch=128, rate=1e-3, schedule="cosine", seed=seed)
        train(network, loss, optimisation, label="classifier")
        with torch.no_grad():
            found.append(float((network(unknown).argmax(1) == labels).float().mean()))
    return found


def frechet(first: Tensor, second: Tensor) -> float:
    """Return the Frechet distance between normal distributions fitted to two sets of rows."""
    means = (first.mean(0) - second.mean(0)).square().sum()
    a, b = first.mT.cov().double(), second.mT.cov().double()
    values = torch.linalg.eigvals(a @ b).real.clamp(min=0)
    return float(means + a.trace() + b.trace() - 2 * values.sqrt().sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="CPU seconds of meta-SGD")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    training, test = datasets.read("mnist")
    labels = torch.from_numpy(datasets.shuffled(datasets.mnist_labels(), 0)).long()
    eye = PrincipalComponents.fit(training, 64)
    print(f"{'':<30}{'PSNR':>7}{'accuracy, %':>14}{'spread':>8}{'nats/latent':>13}{'distance':>10}")
    for name, model in models(arguments.seconds):
        network = model.network
        known, unknown = gauged(model, training), gauged(model, test)
        right = accuracy(known, labels[: len(known)], unknown, labels[len(known) :])
        flow, _ = train_flow(known, unknown, FLOW)
        with torch.no_grad():
            nats = -float(flow.log_prob(unknown).mean()) / LATENTS
            # back to the network's own gauge
            factor = GaussNewtonSteps(GaussNewton(damping=1e-9)).projector(network, test).factor
            drawn = torch.linalg.solve_triangular(
                factor.mT, flow.sample(len(unknown)).double().mT, upper=True
            ).mT.float()
            decoded = torch.cat([network(test.points, part) for part in drawn.split(64)])
        samples = eye.encode(Signals(test.points, decoded))
        quality = psnr(fit(network, model.solver, test)[1]["mse"])
        spread = 100 * (max(right) - min(right))
        print(
            f"{name:<30}{quality:>7.2f}{100 * statistics.mean(right):>14.2f}{spread:>8.2f}"
            f"{nats:>13.3f}{math.sqrt(frechet(samples, eye.encode(test))):>10.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
