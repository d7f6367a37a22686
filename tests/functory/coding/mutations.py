"""Coded files as accidents and enemies make them."""

import zlib

import numpy as np

from functory.coding.container import MAGIC, VERSION, _varint
from functory.coding.header import DICTIONARY

__all__ = ["crafted", "damaged", "deflated", "forged", "mutate"]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a coded file with a few things changed, about half of them with right checksums."""
    return forged(data, rng) if rng.random() < 0.5 else damaged(data, rng)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes that differ from `data`: what storage and transfer do."""
    found = data
    while found == data:
        for _ in range(int(rng.integers(1, 4))):
            found = DAMAGES[rng.integers(len(DAMAGES))](found, rng)
    return found


def forged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a coded file of which some parts were changed and the checksums set right."""
    header, arrays, *chunks = _parts(data)
    text = zlib.decompressobj(-15, zdict=DICTIONARY).decompress(header)
    choice = int(rng.integers(4))
    if choice == 0:
        text = _edited(text, rng)
    elif choice == 1 and arrays:
        arrays = damaged(arrays, rng)
    elif choice == 2:
        header = damaged(header, rng)
    elif chunks:
        chosen = int(rng.integers(len(chunks)))
        chunks[chosen] = damaged(chunks[chosen] or b"\0", rng)
    return crafted(header if choice == 2 else deflated(text), arrays, chunks)


def crafted(header: bytes, arrays: bytes = b"", chunks: list[bytes] | None = None) -> bytes:
    """Return a file of these sections with right checksums, whatever they hold."""
    version = bytes([VERSION])
    first, seed = _section(header, zlib.crc32(version))
    second, seed = _section(arrays, seed)
    rest = [_section(c, zlib.crc32(_varint(i), seed))[0] for i, c in enumerate(chunks or [])]
    return MAGIC + version + first + second + b"".join(rest)


def deflated(text: bytes) -> bytes:
    """Return the JSON of a header as it is in a file."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=DICTIONARY)
    return deflate.compress(text) + deflate.flush()


def _section(body: bytes, seed: int) -> tuple[bytes, int]:
    length = _varint(len(body))
    checksum = zlib.crc32(body, zlib.crc32(length, seed))
    return length + checksum.to_bytes(4, "little") + body, checksum


def _parts(data: bytes) -> list[bytes]:
    """Split a whole file into the bytes of its sections."""
    parts, position = [], len(MAGIC) + 1
    while position < len(data):
        length = shift = 0
        while True:
            byte = data[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        position += 4
        parts.append(data[position : position + length])
        position += length
    return parts


def _place(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(len(data))) if data else 0


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    flipped = bytes(byte ^ 1 << int(rng.integers(8)) for byte in data[place : place + 1])
    return data[:place] + flipped + data[place + 1 :]


def _change(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(len(data[place : place + 1])) + data[place + 1 :]


def _delete(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.geometric(0.2)) :]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.geometric(0.2))) + data[place:]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    """Copy a piece over another place, or between."""
    start, place, length = _place(data, rng), _place(data, rng), int(rng.geometric(0.05))
    kept = place + length * int(rng.integers(2))
    return data[:place] + data[start : start + length] + data[kept:]


def _truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


DAMAGES = (_flip, _change, _delete, _insert, _splice, _truncate)
WORDS = (b"-1", b"0", b"2", b"1e999", b"1e308", b"NaN", b"null", b'""', b"[]", b"{}", b"0.5")
WORDS += (b"true", b"4294967296", b"1152921504606846976", b'"S9"', b'"f8"', b'"object"', b"\xff")


def _edited(text: bytes, rng: np.random.Generator) -> bytes:
    """Damage JSON, or put another value in the place of one."""
    ends = [i for i, byte in enumerate(text) if byte in b":,[]{}"]
    if rng.random() < 0.3 or len(ends) < 2:
        return damaged(text, rng)
    first = int(rng.integers(len(ends) - 1))
    return text[: ends[first] + 1] + WORDS[rng.integers(len(WORDS))] + text[ends[first + 1] :]
