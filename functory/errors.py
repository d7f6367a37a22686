"""Errors that a user can act on: one sentence that says what, where and what to do."""


class FunctoryError(Exception):
    """Base of every error that is reported as its one sentence, without a traceback."""


class InputError(FunctoryError, ValueError):
    """The data or the configuration cannot be used as given."""


class StoreError(FunctoryError):
    """The store cannot be read or written."""


class DivergenceError(FunctoryError):
    """Training met non-finite losses and could not recover."""
