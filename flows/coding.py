"""The commands `functory encode`, `decode` and `codecs`: files into functions and out of them."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import dask
import numpy as np
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from functory.coding.coin_files import coin_grid, decode_coin, encode_coin
from functory.coding.coin_fitting import CoinConfig
from functory.coding.container import Reader, sizes
from functory.coding.decoding import decode_dataset, native_grid
from functory.coding.encoding import encode_dataset, single_threaded
from functory.errors import InputError
from functory.fields.grids import finer, within
from functory.formats import read, write
from storage.codecs import codec_of, find_codec
from storage.references import Record
from storage.versions import Store

__all__ = ["codecs", "decode", "encode"]

console = Console(highlight=False)

Workers = Annotated[
    int, typer.Option(help="Threads that work at once; the result is the same.", min=1)
]


def codecs() -> None:
    """List the codecs in the store: what they code, how small and how well."""
    records = Store.default().records("codecs")
    if not records:
        console.print(
            "There is no codec yet: `functory run codec/uk-temperature` trains one, and "
            "`functory run` lists others."
        )
        return
    table = Table(box=None)
    for title in ("codec", "codes", "quality", "bits a signal", "PSNR (dB)", "RMSE"):
        table.add_column(title, no_wrap=True)
    for record in records:
        for row in _qualities(record):
            table.add_row(*row)
    console.print(table)
    console.print("Measured on test signals; the finest quality is what `encode` takes by default.")


def _qualities(record: Record) -> list[tuple[str, ...]]:
    what = f"{record.summary['modality']}: {', '.join(record.summary['variables'])}"
    first = (f"{record.reference.name}@v{record.reference.version}", what)
    return [
        (
            *(first if number == 1 else ("", "")),
            f"{number}",
            f"{found['bits']:.1f}",
            f"{found['psnr']:.2f}",
            f"{found['rmse']:.4g} {record.summary['units']}",
        )
        for number, found in enumerate(record.summary["qualities"], start=1)
    ]


def encode(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="NetCDF, GRIB, Zarr, image, sound, volume, voxels."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The coded file to write (.fct).")],
    with_: Annotated[
        str,
        typer.Option(
            "--with", metavar="NAME[@vN]", help="The codec: `functory codecs` lists them."
        ),
    ],
    quality: Annotated[
        int | None, typer.Option(help="From 1 (coarse) on; the finest where not given.")
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="LAYERSxWIDTH", help="Of the network of `--with coin`.")
    ] = "5x30",
    workers: Workers = 1,
) -> None:
    """Code a file as functions: rounded modulations of a network that both sides have."""
    began = time.perf_counter()
    if with_ == "coin":
        dataset, config = read(source), _coin(size)
        with _replacing(output) as file:
            for number, psnr in enumerate(encode_coin(dataset, file, config), start=1):
                console.print(f"image {number}: {psnr:.2f} dB")
    else:
        codec, identity = codec_of(Store.default(), with_)
        dataset = read(source, [v.name for v in codec.fitted.variables])
        with _replacing(output) as file:
            lost = encode_dataset(dataset, file, codec, identity, quality, workers)
        for sentence in lost:
            console.print(f"note: {sentence}")
    _print_sizes(output, _array_bytes(dataset), time.perf_counter() - began)


def _coin(size: str) -> CoinConfig:
    layers, _, width = size.partition("x")
    if not (layers.isdecimal() and width.isdecimal()):
        raise InputError(f"--size {size}: write LAYERSxWIDTH, such as 5x30.")
    try:
        return CoinConfig(layers=int(layers), width=int(width), bits="fewest")
    except ValidationError as error:
        raise InputError(f"--size {size}: {error.errors()[0]['msg']}.") from None


@contextmanager
def _replacing(output: Path) -> Iterator[BinaryIO]:
    """Write a file beside the output, which takes its place when all is written."""
    partial = _beside(output)
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def _array_bytes(dataset: object) -> int:
    return int(sum(v.nbytes for v in dataset.data_vars.values()))  # type: ignore[attr-defined]


def _beside(output: Path) -> Path:
    """Return a new empty file in the folder of an output."""
    if not output.parent.is_dir():
        raise InputError(f"There is no folder {output.parent}: make it, or name another output.")
    handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    os.close(handle)
    return Path(name)


def _print_sizes(output: Path, raw: int, seconds: float) -> None:
    with output.open("rb") as file:
        found = sizes(file)
    table = Table(str(output), "", box=None, header_style="bold")
    for name, count in found.items():
        table.add_row(name, f"{count:,} bytes")
    table.add_row("as arrays", f"{raw:,} bytes: {raw / found['total']:.0f} times as much")
    table.add_row("time", f"{seconds:.1f} s, {raw / 1e6 / seconds:.2f} MB/s")
    console.print(table)


def decode(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A coded file (.fct).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="What to write: the suffix says the format.")
    ],
    scale: Annotated[
        float | None, typer.Option(help="So many times as many points along each axis.", min=0.01)
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AXIS=START:STOP:COUNT", help="Other coordinates along an axis; repeat it."
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=START:STOP", help="Only a part along an axis; repeat it."),
    ] = None,
    samples: Annotated[
        str, typer.Option(metavar="START:STOP", help="Only some signals, by position from 0.")
    ] = ":",
    latents: Annotated[
        int | None, typer.Option(help="Only the leading modulations: coarser, sooner.", min=1)
    ] = None,
    workers: Workers = 1,
) -> None:
    """Decode a file: whole or in part, on its own grid or on any other.

    What is not asked for is not decoded.
    """
    if scale is not None and grid:
        raise InputError("--scale and --grid both choose the grid: give one of them.")
    with source.open("rb") as file:
        reader = Reader(file)
        coin = reader.header.identity.codec == "coin"
        codec = None if coin else find_codec(Store.default(), reader.header.identity)
        native = coin_grid(reader) if codec is None else native_grid(reader, codec)
        at = dict(native)
        if scale is not None:
            ends = codec is not None and codec.fitted.modality == "climate"
            at = {axis: finer(values, scale, ends) for axis, values in native.items()}
        at |= {axis: np.linspace(*bounds) for axis, bounds in map(_line, grid or [])}
        at = within(at, dict(map(_range, box or [])))
        changed = {axis: v for axis, v in at.items() if not np.array_equal(v, native[axis])}
        began = time.perf_counter()
        if codec is None:
            dataset = decode_coin(reader, changed, _slice(samples))
        else:
            dataset = decode_dataset(reader, codec, changed, _slice(samples), latents)
        with single_threaded(), dask.config.set(scheduler="threads", num_workers=workers):
            write(dataset, output)
    seconds = time.perf_counter() - began
    values = _array_bytes(dataset)
    console.print(f"{output}: {values / 1e6:.2f} MB in {seconds:.1f} s", soft_wrap=True)


def _line(text: str) -> tuple[str, tuple[float, float, int]]:
    axis, numbers = _numbers(text, 3, "--grid AXIS=START:STOP:COUNT")
    if numbers[2] != int(numbers[2]) or numbers[2] < 1:
        raise InputError(f"--grid {text}: COUNT is a whole number of points.")
    return axis, (numbers[0], numbers[1], int(numbers[2]))


def _range(text: str) -> tuple[str, tuple[float, float]]:
    axis, numbers = _numbers(text, 2, "--box AXIS=START:STOP")
    return axis, (numbers[0], numbers[1])


def _numbers(text: str, count: int, form: str) -> tuple[str, list[float]]:
    axis, _, rest = text.partition("=")
    try:
        numbers = [float(part) for part in rest.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise InputError(f"{text}: write {form}.")
    return axis, numbers


def _slice(text: str) -> slice:
    start, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        raise InputError(f"--samples {text}: write START:STOP, positions from 0.") from None
