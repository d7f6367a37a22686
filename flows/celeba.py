"""The flow `celeba`: images → functasets → prior, diffusions and classifiers → report."""

from typing import Self

from prefect import flow
from pydantic import model_validator

from flows.task_runner import WORKERS
from functory.configuration import Config
from functory.fields.coordinates import Patches
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.models.denoisers import UNetConfig
from functory.models.diffusion import DiffusionConfig, DiffusionTraining
from functory.models.flow_prior import FlowTraining
from functory.sources.image_preparation import ImagePreparation
from functory.sources.images import ImageSource
from storage.references import Name, Reference
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.artifacts import show_report
from tasks.classify import Classification, classify
from tasks.classify_attributes import classify_attributes
from tasks.complete import Completing, complete_signals
from tasks.diffusion import DiffusionSampling, diffusion, sample_diffusion
from tasks.evaluate_images import Evaluation, evaluate_images
from tasks.fit import fit_all
from tasks.metalearn import metalearn as learn
from tasks.prepare_images import PrepareImages, prepare_signals_of_images
from tasks.prior import Sampling, sample
from tasks.prior import prior as train_prior
from tasks.report_images import ImageReporting, report_images
from tasks.stage import summary_of

__all__ = ["SpatialFuncta", "celeba"]


class SpatialFuncta(Config):
    """A second functaset of the same signals, with modulations for each patch."""

    metalearn: MetaLearning = MetaLearning(coordinates="box", patches=Patches())
    """The base network of patches; compare it at equal numbers a signal: cells times latents."""
    fit: Fitting = Fitting()
    """How all patches are fitted."""
    diffusion_training: DiffusionTraining = DiffusionTraining(
        diffusion=DiffusionConfig(network=UNetConfig())
    )
    """The diffusion on the grids of modulations."""

    @model_validator(mode="after")
    def _has_patches(self) -> Self:
        if self.metalearn.patches is None:
            raise ValueError("spatial.metalearn needs patches")
        return self


@flow(
    name="celeba",
    flow_run_name="{name}",
    task_runner=WORKERS,
)
def celeba(
    name: Name,
    source: ImageSource,
    preparation: ImagePreparation = ImagePreparation(),
    metalearn: MetaLearning = MetaLearning(coordinates="box"),
    fit: Fitting = Fitting(),
    prior: FlowTraining = FlowTraining(),
    sampling: Sampling = Sampling(),
    diffusion_training: DiffusionTraining = DiffusionTraining(),
    diffusion_sampling: DiffusionSampling = DiffusionSampling(),
    classification: Classification = Classification(),
    attributes: Classification = Classification(),
    completion: Completing | None = None,
    spatial: SpatialFuncta | None = None,
    evaluation: Evaluation = Evaluation(),
    report: ImageReporting = ImageReporting(),
) -> Reference:
    """Turn images into functasets, and train models on them.

    Args:
        name: What all results are called in the store; with `-diffusion` after it the samples of
            the diffusion, and with `-spatial` all results of patches.
        source: Where the images come from: kind `demo`, `files`, `celeba`, `cifar10`, `mnist`,
            `parquet` or `hub`.
        preparation: Size, crop, colour and split.
        metalearn: The base network and how it is learned.
        fit: How all signals are fitted.
        prior: The flow prior and its training; class-conditional where there are classes.
        sampling: What is drawn from the prior.
        diffusion_training: The diffusion and its training.
        diffusion_sampling: What is drawn from the diffusion.
        classification: The classifier of modulations, where there are classes.
        attributes: The classifier of attributes, where there are attributes.
        completion: What is hidden of test images, and how it is inferred; null completes nothing.
        spatial: A second functaset, of patches, and its diffusion; null makes none.
        evaluation: How generated images are compared with real ones.
        report: What the report shows.
    """
    raw = acquire_images(name, ImageAcquisition(source=source))
    prepared = PrepareImages(source=source, preparation=preparation)
    signals = prepare_signals_of_images(name, prepared, raw=raw)
    network = learn(name, metalearn, signals=signals)
    functaset = fit_all(name, fit, signals=signals, network=network)
    flow_prior = train_prior(name, prior, functaset=functaset)
    denoiser = diffusion(name, diffusion_training, functaset=functaset)
    samples = {
        "flow_prior": sample(name, sampling, prior=flow_prior, functaset=functaset),
        "diffusion": sample_diffusion(
            f"{name}-diffusion", diffusion_sampling, diffusion=denoiser, functaset=functaset
        ),
    }
    found: dict[str, Reference] = {}
    if completion is not None:
        found["completions"] = complete_signals(
            name,
            completion,
            signals=signals,
            network=network,
            functaset=functaset,
            prior=flow_prior,
        )
    known = summary_of(signals)
    if len(known["classes"]) > 1:
        found["classifiers"] = classify(name, classification, functaset=functaset)
    if known["attributes"]:
        found["attribute_classifiers"] = classify_attributes(name, attributes, functaset=functaset)
    evaluated = evaluate_images(name, evaluation, signals=signals, functaset=functaset, **samples)
    if spatial is not None:
        patched = f"{name}-spatial"
        patches = learn(patched, spatial.metalearn, signals=signals)
        grids = fit_all(patched, spatial.fit, signals=signals, network=patches)
        denoiser_of_grids = diffusion(patched, spatial.diffusion_training, functaset=grids)
        drawn = sample_diffusion(
            patched, diffusion_sampling, diffusion=denoiser_of_grids, functaset=grids
        )
        found |= {
            "spatial_network": patches,
            "spatial": grids,
            "spatial_diffusion": denoiser_of_grids,
            "spatial_samples": drawn,
            "spatial_evaluation": evaluate_images(
                patched, evaluation, signals=signals, functaset=grids, diffusion=drawn
            ),
        }
    page = report_images(
        name,
        report,
        signals=signals,
        network=network,
        functaset=functaset,
        prior=flow_prior,
        diffusion=denoiser,
        flow_samples=samples["flow_prior"],
        diffusion_samples=samples["diffusion"],
        evaluation=evaluated,
        **found,
    )
    show_report(page)
    return page
