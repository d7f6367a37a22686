"""The inner solvers to choose from."""

from typing import Annotated

from pydantic import Field

from functory.metalearning.gauss_newton import GaussNewton, GaussNewtonSteps
from functory.metalearning.gradient_steps import GradientDescent, GradientSteps, MetaSGD
from functory.metalearning.inner_loop import Solver

__all__ = ["SolverConfig", "build_solver"]

SolverConfig = Annotated[GradientDescent | MetaSGD | GaussNewton, Field(discriminator="kind")]


def build_solver(config: GradientDescent | MetaSGD | GaussNewton, latents: int) -> Solver:
    """Build the solver that a configuration names."""
    if isinstance(config, GaussNewton):
        return GaussNewtonSteps(config)
    return GradientSteps(config, latents)
