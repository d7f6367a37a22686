"""The flow `era5`: climate fields → functaset → flow prior and entropy models → report."""

from prefect import flow

from flows.task_runner import WORKERS
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.models.flow_prior import FlowTraining
from functory.sources.era5 import Source
from functory.sources.preparation import Preparation
from storage.references import Name, Reference
from tasks.acquire import Acquisition, acquire
from tasks.artifacts import show_report
from tasks.complete import Completing, complete_signals
from tasks.entropy import EntropyModels, entropy
from tasks.fit import fit_all
from tasks.metalearn import metalearn as learn
from tasks.prepare import PrepareERA5, prepare
from tasks.prior import Sampling, sample
from tasks.prior import prior as train_prior
from tasks.report import Reporting
from tasks.report import report as write_report

__all__ = ["era5"]


@flow(
    name="era5",
    flow_run_name="{name}",
    task_runner=WORKERS,
)
def era5(
    name: Name,
    source: Source,
    preparation: Preparation = Preparation(),
    metalearn: MetaLearning = MetaLearning(),
    fit: Fitting = Fitting(),
    prior: FlowTraining = FlowTraining(),
    sampling: Sampling = Sampling(),
    completion: Completing | None = None,
    entropy_models: EntropyModels = EntropyModels(),
    report: Reporting = Reporting(),
) -> Reference:
    """Turn climate fields into a functaset, and train models on it.

    Args:
        name: What all results are called in the store.
        source: Where the raw fields come from: kind `demo`, `files`, `cds` or `zarr`.
        preparation: Grid, split and normalisation.
        metalearn: The base network and how it is learned.
        fit: How all signals are fitted.
        prior: The flow prior and its training.
        sampling: What is drawn from the prior.
        completion: Which region of test fields is hidden, and how it is inferred; null completes
            nothing.
        entropy_models: Quantisers and entropy models.
        report: What the report shows.
    """
    raw = acquire(name, Acquisition(source=source))
    signals = prepare(name, PrepareERA5(source=source, preparation=preparation), raw=raw)
    network = learn(name, metalearn, signals=signals)
    functaset = fit_all(name, fit, signals=signals, network=network)
    flow_prior = train_prior(name, prior, functaset=functaset)
    samples = sample(name, sampling, prior=flow_prior, functaset=functaset)
    completed: dict[str, Reference] = {}
    if completion is not None:
        completed["completions"] = complete_signals(
            name,
            completion,
            signals=signals,
            network=network,
            functaset=functaset,
            prior=flow_prior,
        )
    models = entropy(name, entropy_models, functaset=functaset, signals=signals)
    page = write_report(
        name,
        report,
        signals=signals,
        network=network,
        functaset=functaset,
        prior=flow_prior,
        samples=samples,
        entropy=models,
        **completed,
    )
    show_report(page)
    return page
