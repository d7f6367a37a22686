"""The flow `shapenet`: shapes → functaset → prior, classifiers and completions → report."""

from prefect import flow

from flows.task_runner import WORKERS
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.models.flow_prior import FlowTraining
from functory.sources.shape_preparation import ShapePreparation
from functory.sources.shapes import ShapeSource
from storage.references import Name, Reference
from tasks.acquire_shapes import ShapeAcquisition, acquire_shapes
from tasks.artifacts import show_report
from tasks.classify import Classification, VoxelClassification, classify, classify_voxels
from tasks.complete import Completing, complete_signals
from tasks.fit import fit_all
from tasks.metalearn import metalearn as learn
from tasks.prepare_shapes import PrepareShapes, prepare_signals_of_shapes
from tasks.prior import Sampling, sample
from tasks.prior import prior as train_prior
from tasks.report_shapes import ShapeReporting, report_shapes
from tasks.stage import summary_of

__all__ = ["shapenet"]


@flow(
    name="shapenet",
    flow_run_name="{name}",
    task_runner=WORKERS,
)
def shapenet(
    name: Name,
    source: ShapeSource,
    preparation: ShapePreparation = ShapePreparation(),
    metalearn: MetaLearning = MetaLearning(coordinates="box"),
    fit: Fitting = Fitting(),
    prior: FlowTraining = FlowTraining(),
    sampling: Sampling = Sampling(),
    classification: Classification = Classification(),
    voxel_classification: VoxelClassification | None = None,
    completion: Completing = Completing(),
    report: ShapeReporting = ShapeReporting(),
) -> Reference:
    """Turn 3D shapes into a functaset, and train models on it.

    Args:
        name: What all results are called in the store.
        source: Where the shapes come from: kind `demo`, `files` or `hub`.
        preparation: Size, split and augmentation.
        metalearn: The base network and how it is learned.
        fit: How all signals are fitted.
        prior: The flow prior and its training; class-conditional where there are classes.
        sampling: What is drawn from the prior.
        classification: The classifier of modulations, where there are classes.
        voxel_classification: 3D CNNs on voxels to compare it with; null trains none.
        completion: Which parts of shapes are seen, and how the rest is inferred.
        report: What the report shows.
    """
    raw = acquire_shapes(name, ShapeAcquisition(source=source))
    signals = prepare_signals_of_shapes(
        name, PrepareShapes(source=source, preparation=preparation), raw=raw
    )
    network = learn(name, metalearn, signals=signals)
    functaset = fit_all(name, fit, signals=signals, network=network)
    flow_prior = train_prior(name, prior, functaset=functaset)
    found = {
        "samples": sample(name, sampling, prior=flow_prior, functaset=functaset),
        "completions": complete_signals(
            name,
            completion,
            signals=signals,
            network=network,
            functaset=functaset,
            prior=flow_prior,
        ),
    }
    if len(summary_of(signals)["classes"]) > 1:
        found["classifiers"] = classify(name, classification, functaset=functaset)
        if voxel_classification is not None:
            found["voxel_classifiers"] = classify_voxels(
                name, voxel_classification, signals=signals
            )
    page = report_shapes(
        name,
        report,
        signals=signals,
        network=network,
        functaset=functaset,
        prior=flow_prior,
        **found,
    )
    show_report(page)
    return page
