"""The base of every configuration: validated before any work starts, unknown keys refused."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen set of values; two equal configurations give equal stage keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
