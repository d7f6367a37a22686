"""Files in a place that fsspec reaches, such as `s3://bucket/folder`, with errors that say so."""

import contextlib
import errno
import hashlib
import inspect
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from functory.errors import InputError, StoreError

__all__ = ["Denied", "Objects"]

HERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""What goes wrong on our own disk, and is told by the stage that writes there."""
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class Denied(StoreError):
    """Credentials are missing, or do not suffice."""


class Objects:
    """Files below a URL; all names are relative to it.

    Credentials, endpoint and further options are those of the fsspec implementation: its
    environment variables, its files in the user's home, and fsspec's own configuration.
    """

    def __init__(self, url: str) -> None:
        scheme, _, path = url.partition("://")
        if "@" in path or "?" in path or "#" in path or "::" in url:
            raise InputError(
                "The URL of the store may have no user, password, query or chained protocol: write "
                f"{scheme.partition(':')[0]}://BUCKET/FOLDER, and give credentials by the "
                "environment or the files of its client."
            )
        self._scheme = scheme
        self.url = f"{scheme}://{path.strip('/')}"
        try:
            self._prefix = self._fs._strip_protocol(self.url)
        except ImportError:
            package = f"functory[{EXTRAS[scheme]}]" if scheme in EXTRAS else "what fsspec names"
            raise StoreError(
                f"The store {self.url} needs another package: pip install '{package}'."
            ) from None
        except ValueError:
            raise InputError(
                f"fsspec knows no protocol '{scheme}': name the store by a path, or a URL such as "
                "s3://BUCKET/FOLDER."
            ) from None

    @property
    def _fs(self) -> Any:
        import fsspec  # type: ignore[import-untyped] # takes a moment

        # fsspec has one for each process and thread, so this survives forks; what others publish
        # must show, so listings are not kept
        return fsspec.filesystem(self._scheme, use_listings_cache=False)

    def address(self, name: str) -> str:
        """Return the whole URL of a name."""
        return f"{self.url}/{name}" if name else self.url

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Make what libraries raise one sentence; messages of theirs may have secrets in them."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, StoreError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in HERE:
                raise
            if isinstance(error, PermissionError):
                raise Denied(
                    f"The store {self.url} denies access; give credentials that may read and write "
                    "there, and run the same command again."
                ) from None
            raise StoreError(
                f"The store {self.url} cannot be reached ({type(error).__name__}); check network, "
                "endpoint and credentials, and run the same command again: what is published stays."
            ) from None

    def read(self, name: str) -> bytes:
        """Return the contents of a file; raises FileNotFoundError."""
        with self._reaching():
            return bytes(self._fs.cat_file(self.address(name)))

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of those files that are there, read side by side."""
        if not names:
            return {}
        addresses = [self.address(name) for name in names]
        with self._reaching():
            found = self._fs.cat(addresses, on_error="return")
            contents = {}
            for path, content in found.items():
                if isinstance(content, FileNotFoundError):
                    continue
                if isinstance(content, Exception):
                    raise content
                contents[self._relative(path)] = content
        return contents

    def create(self, name: str, content: bytes) -> bool:
        """Create a file at once, and only where there is none; return False where there is one.

        Raises
        ------
        StoreError
            If the place cannot do that, or cannot be reached.
        """
        self._check_conditional()
        with self._reaching():
            for wait in (0.1, 0.3, 1, 3, None):
                try:
                    self._fs.pipe_file(self.address(name), content, mode="create")
                    return True
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    raise StoreError(f"There is no place {self.url}: make the bucket.") from None
                except Exception as error:
                    code = _code(error)
                    if code == "PreconditionFailed":  # some servers do not say which
                        return False
                    # two at once: one of them is to try again
                    if code != "ConditionalRequestConflict" or wait is None:
                        raise
                    time.sleep(wait)
        raise AssertionError  # the last turn of the loop has raised

    def _check_conditional(self) -> None:
        """Refuse protocols that only look first and write then: two publishers could both win."""
        kind = type(self._fs)
        method = getattr(kind, "_pipe_file", kind.pipe_file)
        generic = method.__module__ in ("fsspec.spec", "fsspec.asyn")
        if generic or "mode" not in inspect.signature(method).parameters:
            raise StoreError(
                f"Nothing can be published to {self.url}: fsspec's '{self._scheme}' cannot create "
                "a file only where there is none; use s3:// or gs://, or a local disk."
            )

    def exclusive(self) -> bool:
        """Tell, by trying, whether the server minds what it is asked on creating a file."""
        name = f".probe-{secrets.token_hex(8)}"
        created = [self.create(name, b"") for _ in range(2)]
        self.remove([name])
        return created == [True, False]

    def write(self, name: str, content: bytes) -> None:
        """Create a file, or give it other contents."""
        with self._reaching():
            self._fs.pipe_file(self.address(name), content)

    def listing(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return what is known of all files below a folder, by their names below it."""
        with self._reaching(), contextlib.suppress(FileNotFoundError):
            found = self._fs.find(self.address(folder), detail=True)
            below = f"{folder}/" if folder else ""
            return {self._relative(path).removeprefix(below): e for path, e in found.items()}
        return {}

    def within(self, folder: str) -> list[str]:
        """Return the names of files and folders in a folder."""
        with self._reaching(), contextlib.suppress(FileNotFoundError):
            found = self._fs.ls(self.address(folder), detail=False)
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)
        return []

    def upload(self, files: Mapping[str, Path]) -> None:
        """Give files the contents of local ones."""
        if files:
            with self._reaching():
                paths = [str(path) for path in files.values()]
                self._fs.put(paths, [self.address(name) for name in files])

    def download(self, files: Mapping[str, Path]) -> None:
        """Write contents into local files; raises FileNotFoundError."""
        if files:
            with self._reaching():
                addresses = [self.address(name) for name in files]
                self._fs.get(addresses, [str(path) for path in files.values()])

    def copy(self, files: Mapping[str, str]) -> None:
        """Give files the contents of others, on the server; raises FileNotFoundError."""
        if files:
            with self._reaching():
                sources = [self.address(source) for source in files.values()]
                self._fs.copy(sources, [self.address(name) for name in files])

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, if they are there."""
        if names:
            with self._reaching(), contextlib.suppress(FileNotFoundError):
                self._fs.rm([self.address(name) for name in names])

    def times(self, folder: str) -> dict[str, datetime]:
        """Return when all files below a folder were written last, by their names below it."""
        return {name: self._written(entry) for name, entry in self.listing(folder).items()}

    def _written(self, entry: Mapping[str, Any]) -> datetime:
        for key in ("LastModified", "mtime", "created"):  # of s3fs, gcsfs, and fsspec's own
            if isinstance(found := entry.get(key), datetime):
                return found
        raise StoreError(
            f"The store {self.url} does not tell when files were written, so it is not known what "
            "may go: remove by hand what is not needed."
        )

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file's contents, read piece by piece."""
        with self._reaching(), self._fs.open(self.address(name), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _relative(self, path: str) -> str:
        return str(path).removeprefix(self._prefix).lstrip("/")


def _code(error: Exception) -> str | None:
    """Return the error code that an S3 server has sent, if that is what went wrong."""
    response = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code
