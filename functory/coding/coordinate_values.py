"""Values of coordinates without loss: a line as two numbers, others as few bytes as they need."""

import itertools
import lzma
import math
import re
from collections.abc import Iterable
from typing import Annotated, Any

import cftime
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from functory.configuration import Config

__all__ = [
    "Values",
    "check_values",
    "compress",
    "decompress",
    "footprint",
    "pack",
    "stored_bytes",
    "unpack",
]

DTYPES = re.compile(
    r"bool|u?int(8|16|32|64)|float(16|32|64)|[US]\d{1,6}|object"
    r"|(datetime|timedelta)64\[(s|ms|us|ns)\]|cftime\[[a-z0-9_]{1,30}\]"
)
EPOCH = "microseconds since 1970-01-01"  # cftime keeps microseconds, and counts them exactly
TEXT = 256  # bytes of one text as an object of Python, at most and about
DATE = 1024  # of one date; less would do, but a hundred thousand take a second already
MODULUS = 2**64
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**20}]

NOTHING = np.empty(0, np.uint8)

Whole = Annotated[int, Field(ge=-(2**63), lt=MODULUS)]


class Values(Config):
    """How values are kept: as start + step k, k being 0, 1, 2, … or stored numbers.

    Integers (and times, which are counts) wrap around at 2^64. Stored floating-point numbers and
    texts are the values themselves.
    """

    start: Whole | FiniteFloat = 0
    """The value at k = 0."""
    step: Whole | FiniteFloat = 0
    """Between the values at k and at k + 1."""
    stored: str | None = Field(default=None, pattern=r"^(u[1248]|f[248]|S\d{1,6})$")
    """Type of the numbers that are stored."""
    shuffled: bool = False
    """All first bytes of the stored numbers come first, then all second ones."""


def pack(values: NDArray[Any]) -> tuple[str, Values, bytes]:
    """Return the name of the values' type, how they are kept, and the bytes to be stored.

    Raises
    ------
    TypeError
        If values of this kind cannot be kept bit for bit.
    """
    name, plain = _plain(values)
    if plain.dtype.kind == "S":
        coded, raw = Values(stored=f"S{plain.dtype.itemsize}"), plain.tobytes()
    else:
        coded, stored = _pack_floats(plain) if plain.dtype.kind == "f" else _pack_counts(plain)
        raw = stored.tobytes()
        planes = _transposed(raw, stored.size)
        if len(compress([planes])) < len(compress([raw])):
            coded, raw = coded.model_copy(update={"shuffled": True}), planes
    if not _same(unpack(name, coded, values.shape, raw), values):
        raise TypeError(f"{name} would not come back as they are")
    return name, coded, raw


def unpack(name: str, coded: Values, shape: tuple[int, ...], raw: bytes) -> NDArray[Any]:
    """Return values of some shape from the bytes that were stored of them.

    Raises
    ------
    ValueError
        If the bytes are no such values.
    """
    count = math.prod(shape)
    if coded.stored is None and name.startswith("float"):
        with np.errstate(all="ignore"):
            line = np.arange(count, dtype=np.float64)
            line *= coded.step
            line += coded.start
            return line.astype(name, copy=False).reshape(shape)
    k = np.arange(count, dtype=np.uint64) if coded.stored is None else _stored(coded, raw)
    if k.dtype.kind == "f":
        return k.astype(name).reshape(shape)
    if k.dtype.kind == "S":
        return _texts(name, k).reshape(shape)
    start, step = (np.array(int(x) % MODULUS, np.uint64) for x in (coded.start, coded.step))
    counts = (start + step * k.astype(np.uint64)).view(np.int64)
    if calendar := _calendar(name):
        dates = cftime.num2date(counts, EPOCH, calendar, only_use_cftime_datetimes=True)
        return np.asarray(dates, dtype=object).reshape(shape)
    # times are counts in their own unit; the others are as they were modulo 2^64
    return (counts.view(name) if "64[" in name else counts.astype(name)).reshape(shape)


def compress(stored: Iterable[bytes]) -> bytes:
    """Return what is stored of several values as one compressed sequence of bytes."""
    joined = b"".join(stored)
    return lzma.compress(joined, lzma.FORMAT_RAW, filters=FILTERS) if joined else b""


def decompress(compressed: bytes, lengths: Iterable[int]) -> list[bytes]:
    """Return what `compress` was given, of these lengths, in no more memory than they are.

    Raises
    ------
    ValueError
        If the bytes are no such sequence.
    """
    ends = list(itertools.accumulate(lengths, initial=0))
    joined = b""
    if ends[-1]:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
        try:
            joined = decompressor.decompress(compressed, ends[-1] + 1)
        except lzma.LZMAError as error:
            raise ValueError("the compressed values are damaged") from error
        complete = decompressor.eof and not decompressor.unused_data
    else:
        complete = not compressed
    if not complete or len(joined) != ends[-1]:
        raise ValueError(f"the compressed values are not the {ends[-1]} bytes that they should be")
    return [joined[start:stop] for start, stop in itertools.pairwise(ends)]


def check_values(name: str, coded: Values) -> None:
    """Refuse a way to keep values that does not fit their type, with a ValueError."""
    if not DTYPES.fullmatch(name):
        raise ValueError(f"there are no coordinates of type {name[:40]}")
    text, floats = name[0] in "US" or name == "object", name.startswith("float")
    own = f"f{np.dtype(name).itemsize}" if floats else "u"
    allowed = ("S",) if text else (own,)
    if (coded.stored is None and text) or not (coded.stored or own).startswith(allowed):
        raise ValueError(f"values of type {name} are not stored as {coded.stored}")


def stored_bytes(coded: Values, count: int) -> int:
    """Return how many bytes are stored of so many values."""
    return count * np.dtype(coded.stored).itemsize if coded.stored else 0


def footprint(name: str, coded: Values, count: int) -> int:
    """Return about how much memory it takes to have so many values."""
    if name.startswith("cftime"):
        return count * DATE
    if name[0] in "US" or name == "object":
        wide = np.dtype(name if name[0] in "US" else "S1").itemsize
        return count * (TEXT + wide + 5 * np.dtype(coded.stored).itemsize)
    return count * max(8, np.dtype(name).itemsize)


def _plain(values: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return values as numbers, or text as bytes, and the name of their type."""
    kind, name = values.dtype.kind, values.dtype.name
    if kind in "US":
        name, plain = values.dtype.str[1:], values
    elif kind in "OT":
        name, plain = _plain_objects(values)
    else:
        plain = values.astype(values.dtype.newbyteorder("<"))
    if not DTYPES.fullmatch(name):
        raise TypeError(name)
    if plain.dtype.kind == "U":
        try:
            plain = np.char.encode(plain, "utf-8")
        except UnicodeEncodeError as error:
            raise TypeError("half characters") from error
    return name, plain


def _plain_objects(values: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    if all(isinstance(item, str) for item in values.flat):
        return "object", values.astype(object).astype(str)
    calendars = {item.calendar for item in values.flat if isinstance(item, cftime.datetime)}
    if len(calendars) != 1 or not all(isinstance(item, cftime.datetime) for item in values.flat):
        raise TypeError(values.dtype.name)
    calendar = calendars.pop()
    return f"cftime[{calendar}]", np.asarray(cftime.date2num(values, EPOCH, calendar), np.int64)


def _stored(coded: Values, raw: bytes) -> NDArray[Any]:
    stored = np.dtype(coded.stored).newbyteorder("<")
    return np.frombuffer(_transposed(raw, stored.itemsize) if coded.shuffled else raw, stored)


def _transposed(raw: bytes, rows: int) -> bytes:
    """Return bytes column by column; of the bytes of numbers, all first bytes come first."""
    return np.frombuffer(raw, np.uint8).reshape(rows, -1).T.tobytes() if raw else raw


def _texts(name: str, stored: NDArray[Any]) -> NDArray[Any]:
    if name[0] == "S":
        return stored.astype(name)
    return np.char.decode(stored, "utf-8").astype(name)


def _calendar(name: str) -> str | None:
    return name[len("cftime[") : -1] if name.startswith("cftime") else None


def _pack_floats(values: NDArray[Any]) -> tuple[Values, NDArray[Any]]:
    line = _line(values.ravel())
    return (line, NOTHING) if line else (Values(stored=f"f{values.dtype.itemsize}"), values)


def _line(values: NDArray[Any]) -> Values | None:
    """Return the start and the step that give equally spaced values bit for bit."""
    if not values.size:
        return Values()
    first, last = float(values[0]), float(values[-1])
    mean = (last - first) / max(1, values.size - 1)
    steps = [float(f"{mean:.{digits}g}") for digits in range(1, 16)]
    # numpy.linspace steps by the mean, numpy.arange by the first difference
    steps += [mean, float(values[min(1, values.size - 1)]) - first]
    with np.errstate(all="ignore"):
        off = np.abs(first + np.arange(values.size) * mean - values)
    if not (off <= abs(mean) / 2).all():  # far from a line, or not finite
        return None
    for start in dict.fromkeys([float(str(values[0])), first]):
        for step in dict.fromkeys(steps):
            coded = Values(start=start, step=step)
            if _same(unpack(values.dtype.name, coded, values.shape, b""), values):
                return coded
    return None


def _counts(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return integers, truth values or times as integers modulo 2^64, flat."""
    flat = values.ravel()
    if flat.dtype.kind in "mM":
        return flat.view("<u8")
    return flat.astype(np.uint64 if flat.dtype.kind == "u" else np.int64).view(np.uint64)


def _pack_counts(values: NDArray[Any]) -> tuple[Values, NDArray[Any]]:
    """Take the smallest off, divide by what all share, and store as few bytes as that takes."""
    counts = _counts(values)
    if not counts.size:
        return Values(), NOTHING
    steps = np.diff(counts)
    if (steps == steps[:1]).all():
        return Values(start=_signed(counts[0]), step=_signed(steps[:1].sum())), NOTHING
    start = counts[np.argmin(counts.view(np.int64))]
    above = counts - start
    divisor = np.gcd.reduce(above)
    k = above // divisor
    width = np.min_scalar_type(k.max()).itemsize
    coded = Values(start=_signed(start), step=_signed(divisor), stored=f"u{width}")
    return coded, k.astype(f"<u{width}")


def _signed(count: np.uint64) -> int:
    """Return the number nearest to zero among those that are the same modulo 2^64."""
    return (int(count) + MODULUS // 2) % MODULUS - MODULUS // 2


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if other.dtype.kind in "OTUS":
        return bool((one == other.astype(one.dtype)).all())
    return bool(one.astype(other.dtype).tobytes() == other.tobytes())
