"""Files in, files out: what is coded, and what it is decoded to."""

from functory.formats.files import read, write

__all__ = ["read", "write"]
