"""The header of a coded file: the codec that decodes it, and what it holds."""

import json
import zlib
from typing import Literal

from pydantic import Field, JsonValue, PositiveInt, ValidationError
from pydantic_core import from_json

from functory.coding.description import Description
from functory.configuration import Config
from functory.errors import InputError

__all__ = ["Header", "Identity", "pack_header", "unpack_header"]

LARGEST = 2**20  # bytes of JSON
# What headers often have, the commonest last: part of version 1, so it stays as it is.
DICTIONARY = (
    b"GRIB_paramId GRIB_dataType GRIB_numberOfPoints GRIB_typeOfLevel surface GRIB_stepUnits "
    b"GRIB_stepType instant GRIB_gridType regular_ll GRIB_uvRelativeToGrid GRIB_NV GRIB_Nx GRIB_Ny "
    b"GRIB_cfName GRIB_cfVarName GRIB_gridDefinitionDescription Latitude/Longitude Grid "
    b"GRIB_iDirectionIncrementInDegrees GRIB_iScansNegatively GRIB_jDirectionIncrementInDegrees "
    b"GRIB_jPointsAreConsecutive GRIB_jScansPositively GRIB_latitudeOfFirstGridPointInDegrees "
    b"GRIB_latitudeOfLastGridPointInDegrees GRIB_longitudeOfFirstGridPointInDegrees "
    b"GRIB_longitudeOfLastGridPointInDegrees GRIB_missingValue GRIB_name GRIB_shortName GRIB_units "
    b"GRIB_totalNumber GRIB_edition GRIB_centre ecmf GRIB_centreDescription GRIB_subCentre "
    b"European Centre for Medium-Range Weather Forecasts ensemble member numerical id realization "
    b"forecast_reference_time initial time of forecast time since forecast_reference_time "
    b'forecast_period valid_time step number air_temperature 2 metre temperature","institution":"'
    b'history":"Conventions":"CF-1.7 source":"title":"comment":"cell_methods":"bounds":"_bnds '
    b'missing_value":"_FillValue":{"dtype":"float64","values":"nan"},"calendar":"'
    b'proleptic_gregorian","hours since 1900-01-01 seconds since 1970-01-01T00:00:00 '
    b'days since 1850-01-01","axis":"standard_name":"long_name":"units":"degrees_east"'
    b'degrees_north"time":{"dims":["time"],"dtype":"datetime64[ns]"latitude":{"dims":["latitude"]'
    b'longitude":{"dims":["longitude"],"values":{"start":0.0,"step":-0.25,"stored":"f8","shuffled":'
    b'true},"coordinate":true,"attributes":{"encoding":{"dtype":"int64"unlimited":["time"'
    b'["time","latitude","longitude"],"dtype":"float32"sample_dimension":"sample":{"identity":{'
    b'"codec":"coin"},"identity":{"codec":"functions","name":"cifar10kodak","version":1,"digest":"'
    b'"},"chunks":1,"settings":{"quality":5},"dataset":{"sizes":{"sample":"z":32,"y":32,"x":32,'
    b'"channel":3},"variables":{"image":{"dims":["sample","z","y","x","channel"],"dtype":"uint8"}}}}'
)


class Identity(Config):
    """The codec that decodes a file."""

    codec: Literal["coin", "functions"]
    """COIN, whose networks are in the file, or functions of a network that both sides have."""
    name: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9._-]{0,99})?$")
    """Name of the trained codec."""
    version: PositiveInt | None = None
    """Its version in the store that it came from."""
    digest: str = Field(default="", pattern=r"^([0-9a-f]{32})?$")
    """The first 16 bytes of the SHA-256 of its files."""


class Header(Config):
    """What a coded file says before its chunks."""

    identity: Identity
    """The codec that it needs."""
    chunks: int = Field(ge=0, le=2**32)
    """How many there are."""
    settings: dict[str, JsonValue] = Field(default={})
    """What the codec has to know besides, such as the quality."""
    dataset: Description
    """The Dataset without the values of its signals."""


def pack_header(header: Header) -> bytes:
    """Return a header as deflated JSON.

    Raises
    ------
    InputError
        If it is larger or more deeply nested than a header may be.
    """
    try:
        content = header.model_dump(exclude_defaults=True)
        # pydantic's own JSON would turn what is not finite into null
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        packed = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _impossible("The Dataset", "it is not JSON") from error
    _parse(packed, "The Dataset")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=DICTIONARY)
    return deflate.compress(packed) + deflate.flush()


def unpack_header(packed: bytes, name: str) -> Header:
    """Return the header of the file of this name, in bounded memory.

    Raises
    ------
    InputError
        If the bytes are no header.
    """
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
    try:
        text = inflate.decompress(packed, LARGEST + 1)
    except zlib.error as error:
        raise _impossible(name, "it cannot be inflated") from error
    if len(text) <= LARGEST and (not inflate.eof or inflate.unused_data):
        raise _impossible(name, "its end is missing")
    return _parse(text, name)


def _parse(text: bytes, name: str) -> Header:
    if len(text) > LARGEST:
        raise _impossible(name, f"it has more than {LARGEST >> 10} KiB of attributes and the like")
    try:
        found = from_json(text, allow_inf_nan=False)
        json.dumps(found, allow_nan=False)  # 1e999 is infinite too
        return Header.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _impossible(name, f"{where[:100]!r}: {first['msg']}") from error
    except ValueError as error:
        raise _impossible(name, str(error)) from error


def _impossible(name: str, reason: str) -> InputError:
    return InputError(f"{name} has an impossible header ({reason}): encode it again.")
