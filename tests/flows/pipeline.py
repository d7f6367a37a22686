"""The main job with a tiny configuration, as plain functions: what tests of flows compare with."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from flows.era5 import era5
from storage.references import Reference
from tasks.acquire import Acquisition, acquire
from tasks.complete import complete_signals
from tasks.entropy import entropy
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare import PrepareERA5, prepare
from tasks.prior import prior, sample
from tasks.report import report

STAGES = (
    "acquire",
    "prepare",
    "metalearn",
    "fit_all",
    "prior",
    "sample",
    "complete_signals",
    "entropy",
    "report",
)

FLOW = {
    "flow": {"layers": 2, "width": 16, "dropout": 0.1},
    "optimisation": {
        "steps": 12,
        "batch": 8,
        "rate": 1e-3,
        "warmup": 2,
        "evaluate_every": 4,
        "checkpoint_every": 3,
    },
}

TINY: dict[str, Any] = {
    "name": "tiny",
    "source": {"kind": "demo", "years": 2, "hours": [0], "shape": [19, 36]},
    "preparation": {"split": {"method": "random-sizes", "train": 16, "validation": 4, "test": 4}},
    "metalearn": {
        "network": {"latents": 4, "width": 16, "depth": 3, "omega_0": 20},
        "solver": {"kind": "gauss-newton"},
        "tangent": {"steps": 6},
        "optimisation": {
            "steps": 12,
            "batch": 4,
            "rate": 1e-3,
            "evaluate_every": 4,
            "checkpoint_every": 3,
        },
    },
    "fit": {"chunk": 4},
    "prior": FLOW,
    "sampling": {"count": 4},
    "completion": {
        "masks": [
            {"kind": "region", "name": "Africa", "latitude": [-35, 37], "longitude": [-18, 52]}
        ],
        "signals": 2,
        "completion": {"draws": 8, "steps": 3},
    },
    "entropy_models": {"bits": [4, 5], "flow": FLOW},
    "report": {"examples": 1, "samples": 2},
}


def options(parameters: Mapping[str, Any]) -> list[str]:
    """Return parameters as command lines take them, `functory`'s and `prefect`'s alike."""
    return [text for k, v in parameters.items() for text in ("-p", f"{k}={json.dumps(v)}")]


def plain(
    parameters: Mapping[str, Any], begin: Callable[[str], None] = lambda stage: None
) -> dict[str, Reference]:
    """Run the stages of the flow `era5` without Prefect; call `begin` before each of them."""
    bound = inspect.signature(era5.fn).bind(**era5.validate_parameters(dict(parameters)))
    bound.apply_defaults()
    p = bound.arguments
    done: dict[str, Reference] = {}

    def run(stage: Any, config: Any, **inputs: str) -> None:
        begin(stage.name)
        references = {name: done[source] for name, source in inputs.items()}
        done[stage.name] = stage.plain(p["name"], config, **references)

    run(acquire, Acquisition(source=p["source"]))
    run(prepare, PrepareERA5(source=p["source"], preparation=p["preparation"]), raw="acquire")
    run(metalearn, p["metalearn"], signals="prepare")
    run(fit_all, p["fit"], signals="prepare", network="metalearn")
    run(prior, p["prior"], functaset="fit_all")
    run(sample, p["sampling"], prior="prior", functaset="fit_all")
    run(
        complete_signals,
        p["completion"],
        signals="prepare",
        network="metalearn",
        functaset="fit_all",
        prior="prior",
    )
    run(entropy, p["entropy_models"], functaset="fit_all", signals="prepare")
    run(
        report,
        p["report"],
        signals="prepare",
        network="metalearn",
        functaset="fit_all",
        prior="prior",
        samples="sample",
        entropy="entropy",
        completions="complete_signals",
    )
    return done
