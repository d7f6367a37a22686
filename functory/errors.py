"""Errors that a user can act on: one sentence that says what, where and what to do."""


class FunctoryError(Exception):
    """Base of every error that is reported as its one sentence, without a traceback."""


class InputError(FunctoryError, ValueError):
    """The data or the configuration cannot be used as given."""


class StoreError(FunctoryError):
    """The store cannot be read or written."""


class SourceUnavailable(FunctoryError):
    """A service failed in a way that may pass: the same request is worth another try."""


class DivergenceError(FunctoryError):
    """Training met non-finite losses and could not recover."""
