"""COIN: an image as the weights of one small sine network, and the bytes that hold them."""

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, cast

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from functory.configuration import Config
from functory.errors import InputError
from functory.fields.coordinates import Box

__all__ = ["Architecture", "Coin", "Layers", "Width", "decode", "decode_weights", "encode_weights"]

VALUES = 2**19  # activations of one layer that are held at once: 2 MB stay in a cache
HALF, UNIFORM = 0, 1  # the first byte: how the weights that follow are written
TOTAL = 2**24  # sum of the frequencies of one tensor's integers
LARGEST = 2**13  # of a quantised weight, so that a table is small
PARAMETERS = struct.Struct("<BBH")  # of one tensor: codes of its step and its spread, largest value

# what a file can make a decoder do is bounded by these: two million weights
Layers = Annotated[int, Field(ge=1, le=32)]
Width = Annotated[int, Field(ge=1, le=256)]


class Architecture(Config):
    """What a decoder must know of a network before it reads the weights."""

    layers: Layers
    """Sine layers, as the papers count them: the linear last layer is not among them."""
    width: Width
    """Units of every sine layer."""
    inputs: Annotated[int, Field(ge=1, le=8)] = 2
    """Coordinates of a point."""
    outputs: Annotated[int, Field(ge=1, le=256)] = 3
    """Features at a point."""
    omega_0: PositiveFloat = 30.0
    """Frequency factor of the sines."""


class Coin(nn.Module):
    """A SIREN without modulations, for one signal.

    Layer i computes sin(omega_0 (W_i h + b_i)); the last is linear, plus 0.5.

    References
    ----------
    COIN (Dupont et al., 2021), chapter 3 of Dupont's thesis; SIREN (Sitzmann et al., 2020).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        sizes = [architecture.inputs, *[architecture.width] * architecture.layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(architecture.width, architecture.outputs)
        for i, layer in enumerate([*self.hidden, self.last]):
            n = layer.in_features
            bound = 1 / n if i == 0 else math.sqrt(6 / n) / architecture.omega_0
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor) -> Tensor:
        """Evaluate the function at points (..., inputs); return features (..., outputs)."""
        omega, hidden = self.architecture.omega_0, points
        for layer in cast(list[nn.Linear], list(self.hidden)):
            # omega_0 on the weights, which are few, and not on the activations
            weight, bias = omega * layer.weight, omega * layer.bias
            hidden = torch.sin(nn.functional.linear(hidden, weight, bias))
        return self.last(hidden) + 0.5


@torch.no_grad()
def decode(network: Coin, coordinates: Box, at: Mapping[str, np.ndarray]) -> Tensor:
    """Evaluate a function on any grid, block by block.

    Parameters
    ----------
    coordinates
        The axes that the network was fitted on.
    at
        Values of every axis of `coordinates`, in its own units (pixels, say): a part of the grid
        that the network was fitted on, a finer one, or any other.

    Returns
    -------
    Tensor
        Features, (values of each axis, ..., outputs), on the network's device. Nothing is cut to
        [0, 1].
    """
    first, *others = coordinates.axes
    rows, row = len(at[first]), math.prod(len(at[axis]) for axis in others)
    result = network.last.weight.new_empty(rows * row, network.architecture.outputs)
    block = max(1, VALUES // network.architecture.width)
    some = max(1, block // max(1, row))
    for start in range(0, rows, some):
        part = coordinates.points({**at, first: at[first][start : start + some]})
        for offset in range(0, len(part), block):
            values = network(torch.from_numpy(part[offset : offset + block]).to(result.device))
            begin = start * row + offset
            result[begin : begin + len(values)] = values
    return result.reshape(*(len(at[axis]) for axis in coordinates.axes), -1)


def encode_weights(network: Coin, steps: Sequence[float] | None = None) -> bytes:
    """Write weights: at 16 bits each, or as entropy-coded multiples of a step for each tensor.

    Parameters
    ----------
    steps
        One for each tensor of `network.parameters()`; each is rounded down to four significant
        bits, and raised where the largest weight would be more than 2^13 steps. None writes half
        precision, as the paper does.

    Returns
    -------
    bytes
        What `decode_weights` reads, with a checksum: five bytes, and two a weight; or five bytes,
        four a tensor, and the coded integers, whose model is a two-sided geometric distribution
        for each tensor.
    """
    tensors = [p.detach().cpu().numpy() for p in network.parameters()]
    if steps is None:
        payload = bytes([HALF]) + b"".join(t.astype("<f2").tobytes() for t in tensors)
    else:
        payload = bytes([UNIFORM]) + _encode_uniform(tensors, steps)
    return payload + struct.pack("<I", zlib.crc32(payload))


def decode_weights(coded: bytes, architecture: Architecture) -> Coin:
    """Read what `encode_weights` wrote for a network of this architecture.

    The weights are the same on every machine. Raises InputError for any other bytes, in the time
    and memory that the architecture needs.
    """
    payload, checksum = coded[:-4], coded[-4:]
    if len(coded) < 5 or struct.pack("<I", zlib.crc32(payload)) != checksum:
        raise _damaged("their checksum is wrong")
    with torch.device("meta"):  # first weights would be drawn for nothing
        network = Coin(architecture)
    shapes = [tuple(p.shape) for p in network.parameters()]
    if payload[0] == HALF:
        tensors = _decode_half(payload[1:], shapes)
    elif payload[0] == UNIFORM:
        tensors = _decode_uniform(payload[1:], shapes)
    else:
        raise _damaged(f"way {payload[0]} of writing them is not known")
    names = [name for name, _ in network.named_parameters()]
    weights = {name: torch.from_numpy(t) for name, t in zip(names, tensors, strict=True)}
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _decode_half(body: bytes, shapes: list[tuple[int, ...]]) -> list[NDArray[np.float32]]:
    sizes = [math.prod(shape) for shape in shapes]
    if len(body) != 2 * sum(sizes):
        raise _damaged(f"a network of {sum(sizes)} weights needs {2 * sum(sizes)} bytes")
    values = np.frombuffer(body, "<f2").astype(np.float32)
    if not np.isfinite(values).all():
        raise _damaged("some are not finite")
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _encode_uniform(tensors: list[NDArray[np.float32]], steps: Sequence[float]) -> bytes:
    coder = constriction.stream.stack.AnsCoder()
    header = []
    # the coder is a stack: what is to come out first goes in last
    for tensor, step in reversed(list(zip(tensors, steps, strict=True))):
        code = _code(max(step, float(np.abs(tensor).max()) / LARGEST * 1.25) * 2**24)
        integers = np.rint(tensor.ravel() / (_value(code) / 2**24)).astype(np.int32)
        largest = max(1, int(np.abs(integers).max()))
        spread = _code(16 * float(np.abs(integers).mean()))
        header.append(PARAMETERS.pack(code, spread, largest))
        coder.encode_reverse(integers + largest, _geometric(spread, largest))
    return b"".join(header[::-1]) + coder.get_compressed().astype("<u4").tobytes()


def _decode_uniform(body: bytes, shapes: list[tuple[int, ...]]) -> list[NDArray[np.float32]]:
    end = PARAMETERS.size * len(shapes)
    words = np.frombuffer(body[end : end + (len(body) - end) // 4 * 4], "<u4").astype(np.uint32)
    if len(body) < end or (len(body) - end) % 4 or (words.size and words[-1] == 0):
        raise _damaged("they end too early")
    coder = constriction.stream.stack.AnsCoder(words)
    tensors = []
    for shape, parameters in zip(shapes, PARAMETERS.iter_unpack(body[:end]), strict=True):
        code, spread, largest = parameters
        if not 1 <= largest <= LARGEST:
            raise _damaged(f"the largest of a tensor is {largest} steps")
        indices = coder.decode(_geometric(spread, largest), math.prod(shape))
        # an integer below 2^14 times one of four bits: exact in double and in single precision
        values = (indices.astype(np.float64) - largest) * _value(code) / 2**24
        tensors.append(values.astype(np.float32).reshape(shape))
    if not coder.is_empty():
        raise _damaged(f"something is left after {len(shapes)} tensors")
    return tensors


def _geometric(spread: int, largest: int) -> constriction.stream.model.Categorical:
    """Return frequencies of the integers -largest..largest that fall by one ratio on both sides.

    Integer arithmetic throughout, so that every machine codes with the same numbers.
    """
    mean = _value(spread)
    weight, falling = 2**30, []
    for _ in range(largest + 1):
        falling.append(weight)
        weight = weight * mean // (mean + 16)
    side = np.array(falling, dtype=np.int64)
    weights = np.concatenate([side[:0:-1], side])
    free = TOTAL - len(weights)
    scaled = weights * free // weights.sum()
    scaled[largest] += free - scaled.sum()
    # The coder adds 1 to each of these, so that all are possible. They sum to what it scales
    # their sum to, and integers below 2^24 add up exactly in floating point.
    return constriction.stream.model.Categorical(scaled.astype(np.float64), perfect=False)


def _value(code: int) -> int:
    """Return the positive integer of a byte: an exponent of five bits, a mantissa of four."""
    return (8 + (code & 7)) << (code >> 3)


def _code(value: float) -> int:
    """Return the byte of the largest integer that is at most `value`, or of the smallest."""
    exponent = max(0, math.frexp(max(value, 8.0))[1] - 4)
    mantissa = min(15, int(max(value, 8.0) / 2**exponent))
    return min(255, 8 * exponent + mantissa - 8)


def _damaged(reason: str) -> InputError:
    return InputError(
        f"the weights of the network are damaged, or of another architecture ({reason}): "
        f"encode the image again."
    )
