"""The flow `shapenet` with a tiny configuration, as plain functions."""

import inspect
from collections.abc import Mapping
from typing import Any

from flows.shapenet import shapenet
from storage.references import Reference
from tasks.acquire_shapes import ShapeAcquisition, acquire_shapes
from tasks.classify import classify, classify_voxels
from tasks.complete import complete_signals
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare_shapes import PrepareShapes, prepare_signals_of_shapes
from tasks.prior import prior, sample
from tasks.report_shapes import report_shapes

STEPS = {"steps": 12, "batch": 8, "rate": 1e-3, "evaluate_every": 4, "checkpoint_every": 3}

TINY_SHAPES: dict[str, Any] = {
    "name": "tiny-shapes",
    "source": {"kind": "demo", "models": 5, "size": 12},
    "preparation": {
        "size": None,
        "split": {"method": "random", "validation": 0.2, "test": 0.2},
        "augmentation": {"copies": 2},
    },
    "metalearn": {
        "network": {"latents": 4, "width": 16, "depth": 3, "omega_0": 20},
        "solver": {"kind": "gauss-newton"},
        "tangent": {"steps": 6},
        "coordinates": "box",
        "points": 512,
        "optimisation": STEPS,
    },
    "fit": {"chunk": 32},
    "prior": {"flow": {"layers": 2, "width": 16, "dropout": 0.1}, "optimisation": STEPS},
    "sampling": {"count": 2},
    "classification": {"optimisation": STEPS, "seeds": [0, 1]},
    "voxel_classification": {"models": [{"channels": 4}], "optimisation": STEPS, "seeds": [0]},
    "completion": {"signals": 2, "completion": {"draws": 4, "steps": 2, "points": 200}},
    "report": {"examples": 1, "samples": 1},
}


def plain_shapes(parameters: Mapping[str, Any]) -> dict[str, Reference]:
    """Run the stages of the flow `shapenet` without Prefect."""
    bound = inspect.signature(shapenet.fn).bind(**shapenet.validate_parameters(dict(parameters)))
    bound.apply_defaults()
    p, done = bound.arguments, dict[str, Reference]()

    def run(label: str, stage: Any, config: Any, *inputs: str) -> None:
        done[label] = stage.plain(p["name"], config, **{name: done[name] for name in inputs})

    run("raw", acquire_shapes, ShapeAcquisition(source=p["source"]))
    prepared = PrepareShapes(source=p["source"], preparation=p["preparation"])
    run("signals", prepare_signals_of_shapes, prepared, "raw")
    run("network", metalearn, p["metalearn"], "signals")
    run("functaset", fit_all, p["fit"], "signals", "network")
    run("prior", prior, p["prior"], "functaset")
    run("samples", sample, p["sampling"], "prior", "functaset")
    inputs = ("signals", "network", "functaset", "prior")
    run("completions", complete_signals, p["completion"], *inputs)
    run("classifiers", classify, p["classification"], "functaset")
    run("voxel_classifiers", classify_voxels, p["voxel_classification"], "signals")
    models = ("samples", "completions", "classifiers", "voxel_classifiers")
    run("page", report_shapes, p["report"], *inputs, *models)
    return done
