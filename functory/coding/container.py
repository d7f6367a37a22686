r"""The container of a coded file: what it is, what it describes, and the chunks of its signals.

A file is ``8F 46 43 54 0D 0A 1A 0A`` (as in PNG, so that a transfer as text is noticed), one byte
with the version of the container, and sections: the header, the values of coordinates, and each
chunk. A section is the length of its body (LEB128: seven bits a byte, the low ones first), a CRC-32
(little-endian) and the body. The CRC-32 is that of the length and the body, and it begins where
that of the coordinates ended and, after it, the chunk's number: so no chunk passes that is out of
another file or another place. That of the coordinates begins where the header's ended, and that
one with the version.
"""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import BinaryIO

from functory.coding.header import Header, Identity, pack_header, unpack_header
from functory.errors import InputError

__all__ = ["Header", "Identity", "Reader", "Writer", "sizes"]

MAGIC = b"\x8fFCT\r\n\x1a\n"
VERSION = 1
LARGEST = {"header": 2**20, "coordinates": 2**26, "chunk": 2**26}  # bytes
BLOCK = 2**20  # bytes that are read at once


class Writer(AbstractContextManager["Writer"]):
    """Writes a coded file from the front to the end, so that a pipe will do.

    Parameters
    ----------
    file
        Open for writing; it stays open.
    arrays
        Compressed values of coordinates, from `describe`.

    Raises
    ------
    InputError
        If the header, the coordinates or a chunk are larger than a file can hold.
    """

    def __init__(self, file: BinaryIO, header: Header, arrays: bytes = b"") -> None:
        self._file, self._chunks, self._written = file, header.chunks, 0
        packed = pack_header(header)
        file.write(MAGIC + bytes([VERSION]))
        seed = self._section("header", packed, zlib.crc32(bytes([VERSION])))
        self._seed = self._section("coordinates", arrays, seed)

    def write(self, chunk: bytes) -> None:
        """Write the next chunk."""
        if self._written == self._chunks:
            raise ValueError(f"the header promises {self._chunks} chunks, and this is one more")
        self._section("chunk", chunk, zlib.crc32(_varint(self._written), self._seed))
        self._written += 1

    def close(self) -> None:
        """Refuse to end before all chunks are written, with a ValueError."""
        if self._written != self._chunks:
            raise ValueError(
                f"the header promises {self._chunks} chunks, but {self._written} were written"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, unless something else went wrong before."""
        if kind is None:
            self.close()

    def _section(self, part: str, body: bytes, seed: int) -> int:
        if len(body) > LARGEST[part]:
            raise InputError(
                f"A {part} of {len(body)} bytes does not fit into a coded file, where it may have "
                f"{LARGEST[part]}: encode a part of the data."
            )
        length = _varint(len(body))
        checksum = zlib.crc32(body, zlib.crc32(length, seed))
        self._file.write(length + checksum.to_bytes(4, "little") + body)
        return checksum


class Reader:
    """Reads a coded file that may be damaged or hostile, in bounded memory.

    Parameters
    ----------
    file
        Open for reading, at its start; where it can seek, chunks that are not wanted are not read.

    Raises
    ------
    InputError
        If it is no coded file, or is damaged, truncated or of a newer version.
    """

    header: Header
    """What the file says of itself."""
    arrays: bytes
    """Compressed values of coordinates, for `restore`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._name = str(getattr(file, "name", "The coded file"))
        self._start = self._position = file.tell() if file.seekable() else 0
        self._end: int | None = None
        if file.seekable():
            self._end = file.seek(0, 2)
            file.seek(self._start)
        self._check_version()
        packed, seed = self._section("header", zlib.crc32(bytes([VERSION])))
        self.header = unpack_header(packed, self._name)
        self._after_header = self._position
        self.arrays, self._seed = self._section("coordinates", seed)
        self._first = self._position
        self._next = self._payload = 0  # chunks, and their bytes, up to here

    def chunks(self, which: Iterable[int] | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield chunks with their numbers, in order: all, or those that are asked for.

        Each has passed its checksum. Once the last one is reached, the file has to end there.
        """
        total = self.header.chunks
        wanted = range(total) if which is None else sorted(set(which))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < total:
            raise ValueError(
                f"chunk {wanted[-1] if wanted[0] >= 0 else wanted[0]} is not of {total}"
            )
        for index in wanted:
            self._go_to(index)
            yield index, self._chunk()
        if self._next == total:
            self._expect_end()

    def sizes(self) -> dict[str, int]:
        """Return the bytes of `payload`, of chunks' `overhead`, `header` and `coordinates`."""
        self._go_to(self.header.chunks)
        self._expect_end()
        return {
            "payload": self._payload,
            "overhead": self._position - self._first - self._payload,
            "header": self._after_header - self._start,
            "coordinates": self._first - self._after_header,
            "total": self._position - self._start,
        }

    def _check_version(self) -> None:
        start = self._read(len(MAGIC) + 1)
        if not start.startswith(MAGIC):
            raise InputError(
                f"{self._name} is not a file that Functory coded: it begins with {start[:8]!r}."
            )
        version = start[len(MAGIC) :]
        if version > bytes([VERSION]):
            raise InputError(
                f"{self._name} is of version {version[0]} of the container, and this Functory "
                f"reads up to {VERSION}: upgrade Functory."
            )
        if version != bytes([VERSION]):
            raise self._damaged("it has no version")

    def _go_to(self, index: int) -> None:
        """Stand before a chunk; its neighbours are passed over where the file can seek."""
        if index < self._next:
            if self._end is None:
                raise ValueError("chunks of a file that cannot seek are read once, in order")
            self._position = self._file.seek(self._first)
            self._next = self._payload = 0
        while self._next < index:
            if self._end is None:
                self._chunk()
                continue
            length = self._length("chunk")[0]
            self._position = self._file.seek(self._position + 4 + length)
            self._advance(length)

    def _chunk(self) -> bytes:
        body, _ = self._section("chunk", zlib.crc32(_varint(self._next), self._seed))
        self._advance(len(body))
        return body

    def _advance(self, length: int) -> None:
        self._next += 1
        self._payload += length

    def _expect_end(self) -> None:
        if self._read(1):
            raise self._damaged("it goes on after its last chunk")

    def _section(self, part: str, seed: int) -> tuple[bytes, int]:
        """Read a section; return its bytes and its checksum."""
        length, coded = self._length(part)
        said, body = self._take(4), self._take(length)
        checksum = zlib.crc32(body, zlib.crc32(coded, seed))
        if checksum.to_bytes(4, "little") != said:
            where = f"chunk {self._next}" if part == "chunk" else f"its {part}"
            raise self._damaged(f"the checksum of {where} is wrong")
        return body, checksum

    def _length(self, part: str) -> tuple[int, bytes]:
        """Read the length of a section, and how it was written."""
        coded = self._take(1)
        while coded[-1] >= 128 and len(coded) < 5:
            coded += self._take(1)
        length = sum((byte & 127) << 7 * i for i, byte in enumerate(coded))
        if length > LARGEST[part] or coded != _varint(length):
            raise self._damaged(f"the length of a {part} is impossible")
        if self._end is not None and self._position + 4 + length > self._end:
            raise self._truncated()
        return length, coded

    def _take(self, count: int) -> bytes:
        found = self._read(count)
        if len(found) < count:
            raise self._truncated()
        return found

    def _read(self, count: int) -> bytes:
        """Read so many bytes, or fewer at the end; memory grows only with what there is."""
        found = bytearray()
        while len(found) < count and (block := self._file.read(min(BLOCK, count - len(found)))):
            found += block
        self._position += len(found)
        return bytes(found)

    def _truncated(self) -> InputError:
        return self._damaged(f"it is truncated at byte {self._position - self._start}")

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self._name} is damaged: {reason}; copy or encode it again.")


def sizes(file: BinaryIO) -> dict[str, int]:
    """Return where the bytes of a coded file are.

    Returns
    -------
    dict
        `payload`, `overhead` (lengths and checksums of the chunks), `header` (with all that comes
        before it), `coordinates`, and their `total`.
    """
    return Reader(file).sizes()


def _varint(number: int) -> bytes:
    """Return a number in seven bits a byte, the low ones first; the eighth says that more come."""
    coded = b""
    while number >= 128:
        coded += bytes([number & 127 | 128])
        number >>= 7
    return coded + bytes([number])
