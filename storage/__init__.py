"""Versioned stores of results, and functasets as people open them with xarray."""

# The accessor is not imported here: xarray loads this package whenever it looks for engines, and
# must not pay for torch. `import storage.accessor` registers it, as does the engine when it opens.
from storage.references import Record, Reference
from storage.versions import Store

__all__ = ["Record", "Reference", "Store"]
