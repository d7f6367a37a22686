"""The flow `celeba` with a tiny configuration, as plain functions."""

import inspect
from collections.abc import Mapping
from typing import Any

from flows.celeba import celeba
from storage.references import Reference
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.classify_attributes import classify_attributes
from tasks.complete import complete_signals
from tasks.diffusion import diffusion, sample_diffusion
from tasks.evaluate_images import evaluate_images
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare_images import PrepareImages, prepare_signals_of_images
from tasks.prior import prior, sample
from tasks.report_images import report_images

STEPS = {"steps": 12, "batch": 8, "rate": 1e-3, "evaluate_every": 4, "checkpoint_every": 3}
NETWORK = {"latents": 4, "width": 16, "depth": 3, "omega_0": 15}
LEARNING = {
    "solver": {"kind": "gauss-newton"},
    "tangent": {"steps": 6},
    "coordinates": "box",
    "optimisation": STEPS,
}

TINY_IMAGES: dict[str, Any] = {
    "name": "tiny-images",
    "source": {"kind": "demo", "pictures": 48},
    "preparation": {"size": 16, "split": {"method": "random-sizes", "train": 32, "test": 16}},
    "metalearn": {"network": NETWORK, **LEARNING},
    "fit": {"chunk": 32},
    "prior": {"flow": {"layers": 2, "width": 16, "dropout": 0.1}, "optimisation": STEPS},
    "sampling": {"count": 8},
    "diffusion_training": {
        "diffusion": {"network": {"kind": "mlp", "width": 16, "blocks": 1}},
        "optimisation": STEPS,
    },
    "diffusion_sampling": {"count": 8, "steps": 4},
    "attributes": {"optimisation": STEPS, "seeds": [0]},
    "completion": {
        "masks": [{"kind": "occlusion", "name": "the right half", "x": [0.5, 1]}],
        "signals": 2,
        "completion": {"draws": 4, "steps": 2, "points": 200},
    },
    "spatial": {
        "metalearn": {"network": NETWORK, "patches": {"size": 8, "overlap": 1}, **LEARNING},
        "fit": {"chunk": 16},
        "diffusion_training": {
            "diffusion": {"network": {"kind": "unet", "channels": 8, "levels": 1}},
            "optimisation": STEPS,
        },
    },
    "evaluation": {"features": {"channels": 4, "features": 4, "optimisation": STEPS}},
    "report": {"examples": 2, "samples": 4},
}


def plain_images(parameters: Mapping[str, Any]) -> dict[str, Reference]:
    """Run the stages of the flow `celeba` without Prefect."""
    bound = inspect.signature(celeba.fn).bind(**celeba.validate_parameters(dict(parameters)))
    bound.apply_defaults()
    p, done = bound.arguments, dict[str, Reference]()

    def run(label: str, stage: Any, config: Any, *inputs: str, **named: str) -> None:
        references = {name: done[name] for name in inputs}
        references |= {name: done[label] for name, label in named.items()}
        done[label] = stage.plain(p["name"], config, **references)

    run("raw", acquire_images, ImageAcquisition(source=p["source"]))
    prepared = PrepareImages(source=p["source"], preparation=p["preparation"])
    run("signals", prepare_signals_of_images, prepared, "raw")
    run("network", metalearn, p["metalearn"], "signals")
    run("functaset", fit_all, p["fit"], "signals", "network")
    run("prior", prior, p["prior"], "functaset")
    run("diffusion", diffusion, p["diffusion_training"], "functaset")
    run("flow_samples", sample, p["sampling"], "prior", "functaset")
    drawing = p["diffusion_sampling"]
    run("diffusion_samples", sample_diffusion, drawing, "diffusion", "functaset")
    inputs = ("signals", "network", "functaset", "prior")
    run("completions", complete_signals, p["completion"], *inputs)
    run("attribute_classifiers", classify_attributes, p["attributes"], "functaset")
    samples = {"flow_prior": "flow_samples", "diffusion": "diffusion_samples"}
    run("evaluation", evaluate_images, p["evaluation"], "signals", "functaset", **samples)
    spatial = p["spatial"]
    run("spatial_network", metalearn, spatial.metalearn, "signals")
    run("spatial", fit_all, spatial.fit, "signals", network="spatial_network")
    run("spatial_diffusion", diffusion, spatial.diffusion_training, functaset="spatial")
    grids = {"diffusion": "spatial_diffusion", "functaset": "spatial"}
    run("spatial_samples", sample_diffusion, drawing, **grids)
    grids = {"functaset": "spatial", "diffusion": "spatial_samples"}
    run("spatial_evaluation", evaluate_images, p["evaluation"], "signals", **grids)
    found = ("diffusion", "flow_samples", "diffusion_samples", "evaluation", "completions")
    patched = ("spatial_network", "spatial", "spatial_diffusion", "spatial_samples")
    more = ("attribute_classifiers", "spatial_evaluation")
    run("page", report_images, p["report"], *inputs, *found, *patched, *more)
    return done
