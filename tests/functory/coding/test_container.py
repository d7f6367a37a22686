"""The container: what goes in comes out, and what is damaged is refused in one sentence."""

import io
import tracemalloc
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import crafted, damaged, deflated, forged, mutate

from functory.coding.container import MAGIC, Header, Identity, Reader, Writer, _varint, sizes
from functory.coding.description import Description, describe, restore
from functory.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = Identity(codec="functions", name="photographs", version=3, digest="0f" * 16)
HEADER = b'{"identity":{"codec":"coin"},"chunks":%d,"dataset":{}}'

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # half characters are no text
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)


class Pipe(io.BytesIO):
    """A file that can only be read or written onwards, and gives a few bytes at a time."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise OSError

    def tell(self) -> int:
        raise OSError

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 7) if size is not None and size > 0 else size)


def synthetic() -> xr.Dataset:
    """Return a Dataset with all kinds of coordinates."""
    days = xr.date_range("1870-01-31", periods=4, freq="ME", calendar="noleap", use_cftime=True)
    latitude = np.degrees(np.arcsin(np.linspace(0.9, -0.9, 5))).round(3)
    return xr.Dataset(
        {"tas": (("time", "lat", "lon"), np.zeros((4, 5, 6), "float32"), {"units": "K"})},
        {
            "time": ("time", days, {"standard_name": "time"}),
            "lat": ("lat", latitude, {"units": "degrees_north"}),
            "lon": ("lon", np.arange(6) * 0.5, {"units": "degrees_east"}),
            "station": ("lon", ["a", "b", "c", "d", "e", "f"]),
            "height": 2.0,
        },
        {"title": "made for tests", "levels": np.array([1, 2], "int16"), "fill": float("nan")},
    )


def coded(chunks: list[bytes], dataset: xr.Dataset | None = None, **settings: object) -> bytes:
    """Return a file of these chunks."""
    description, arrays, _ = describe(synthetic() if dataset is None else dataset, ["tas"])
    header = Header(identity=IDENTITY, chunks=len(chunks), settings=settings, dataset=description)
    with io.BytesIO() as file, Writer(file, header, arrays) as writer:
        for chunk in chunks:
            writer.write(chunk)
        return file.getvalue()


@cache
def twenty() -> tuple[list[bytes], bytes]:
    """Return twenty chunks of many lengths, and a file of them."""
    chunks = [bytes([i]) * i * 20 for i in range(20)]
    return chunks, coded(chunks)


def content(data: bytes, file: type[io.BytesIO] = io.BytesIO) -> tuple[object, ...]:
    """Return all that a file holds, the Dataset restored."""
    reader = Reader(file(data))
    chunks = list(reader.chunks())
    description = reader.header.dataset
    signals = {
        name: np.zeros(description.shape(variable), variable.dtype)
        for name, variable in description.variables.items()
        if variable.values is None and np.prod(description.shape(variable)) < 1e6
    }
    if all(v.values is not None or n in signals for n, v in description.variables.items()):
        restore(description, reader.arrays, signals)
    return reader.header, reader.arrays, chunks


def nested(depth: int) -> object:
    """Return lists in lists."""
    found: object = 1
    for _ in range(depth):
        found = [found]
    return found


@settings(max_examples=40)
@given(
    st.lists(st.binary(max_size=300), max_size=5),
    st.dictionaries(st.text("abc", max_size=3), json_values, max_size=3),
)
def test_what_is_written_is_read(chunks, said):
    header = Header(identity=IDENTITY, chunks=len(chunks), settings=said, dataset=Description())
    file, pipe = io.BytesIO(), Pipe()
    for target in (file, pipe):
        with Writer(target, header, b"arrays") as writer:
            for chunk in chunks:
                writer.write(chunk)
    assert file.getvalue() == pipe.getvalue()
    for source in (io.BytesIO(file.getvalue()), Pipe(file.getvalue())):
        reader = Reader(source)
        assert reader.header == header
        assert reader.arrays == b"arrays"
        assert list(reader.chunks()) == list(enumerate(chunks))


@settings(max_examples=30)
@given(st.sets(st.integers(0, 19)), st.booleans())
def test_some_chunks_are_found_without_the_others(wanted, seekable):
    chunks, data = twenty()
    reader = Reader((io.BytesIO if seekable else Pipe)(data))
    assert list(reader.chunks(wanted)) == [(i, chunks[i]) for i in sorted(wanted)]
    if seekable:  # again, and from the front
        assert list(reader.chunks(reversed(range(20)))) == list(enumerate(chunks))


def test_chunks_that_are_not_wanted_are_not_read():
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    data = coded([bytes(100_000)] * 20)
    file = Counting(data)
    assert [i for i, _ in Reader(file).chunks([3, 17])] == [3, 17]
    assert file.taken < 210_000


def test_sizes_add_up_and_chunks_cost_a_few_bytes():
    chunks = [b"", bytes(127), bytes(128), bytes(20_000), bytes(3_000_000)]
    data = coded(chunks)
    found = sizes(io.BytesIO(data))
    assert found.pop("total") == len(data) == sum(found.values())
    assert found["payload"] == sum(map(len, chunks))
    assert found["overhead"] == 5 + 5 + 6 + 7 + 8
    small = coded(chunks[:4])
    assert sizes(Pipe(small)) == sizes(io.BytesIO(small))


def test_one_image_costs_little_besides_its_payload():
    image = xr.Dataset({"image": (("y", "x", "channel"), np.zeros((32, 32, 3), "uint8"))})
    description, arrays, lost = describe(image, ["image"])
    header = Header(identity=IDENTITY, chunks=1, settings={"quality": 4}, dataset=description)
    with io.BytesIO() as file, Writer(file, header, arrays) as writer:
        writer.write(b"payload")
        found = sizes(io.BytesIO(file.getvalue()))
    assert found["total"] - found["payload"] < 90
    assert not lost


def test_a_file_has_as_many_chunks_as_its_header_says():
    header = Header(identity=IDENTITY, chunks=2, dataset=Description())
    writer = Writer(io.BytesIO(), header)
    writer.write(b"one")
    with pytest.raises(ValueError, match="promises 2 chunks, but 1 were"):
        writer.close()
    writer.write(b"two")
    writer.close()
    with pytest.raises(ValueError, match="one more"):
        writer.write(b"three")
    with pytest.raises(KeyError), Writer(io.BytesIO(), header):  # the first error is the one seen
        raise KeyError


@pytest.mark.parametrize("file", [io.BytesIO, Pipe])
def test_every_damaged_byte_and_every_truncation_is_refused(file):
    data = coded([b"first", b"", b"third" * 5], quality=2)
    assert content(data, file) == content(data)
    for place in range(len(data)):
        for byte in {data[place] ^ 1, data[place] ^ 128, 0, 255} - {data[place]}:
            with pytest.raises(InputError):
                content(data[:place] + bytes([byte]) + data[place + 1 :], file)
        with pytest.raises(InputError):
            content(data[:place], file)
    with pytest.raises(InputError, match="goes on after its last chunk"):
        content(data + b"\0", file)


def test_chunks_of_another_place_or_file_are_refused():
    one, other = (coded([b"aaaa", b"bbbb"], quality=q) for q in (1, 2))
    swapped = one[:-18] + one[-9:] + one[-18:-9]
    for data in (swapped, one[:-18] + other[-18:]):
        with pytest.raises(InputError, match="checksum of chunk 0 is wrong"):
            content(data)


def test_what_is_no_coded_file_is_called_so():
    for data in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(50)):
        with pytest.raises(InputError, match="not a file that Functory coded"):
            Reader(io.BytesIO(data))
    as_text = coded([]).replace(b"\r\n", b"\n")
    with pytest.raises(InputError, match="not a file that Functory coded"):
        Reader(io.BytesIO(as_text))


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "broken.fct"
    path.write_bytes(coded([b"chunk"])[:-1])
    with path.open("rb") as file, pytest.raises(InputError, match=r"broken\.fct is damaged"):
        list(Reader(file).chunks())


def test_a_newer_file_asks_for_a_newer_functory():
    data = bytearray(coded([b"chunk"]))
    data[len(MAGIC)] = 255
    with pytest.raises(InputError, match=r"version 255 of the container.*upgrade Functory"):
        Reader(io.BytesIO(data))


DEEP = b"[" * 300_000 + b"]" * 300_000
HOSTILE = {
    "bomb": crafted(deflated(bytes(2**26))),
    "JSON of a megabyte": crafted(deflated(HEADER[:-1] % 0 + b',"settings":"' + b"a" * 2**20)),
    "nested": crafted(deflated(b'{"settings":{"a":' + DEEP + b"}}")),
    "nothing": crafted(b""),
    "no object": crafted(deflated(b"[]")),
    "no text": crafted(deflated(b"\xff\xfe")),
    "not a number": crafted(deflated(HEADER[:-1] % 0 + b',"settings":{"a":NaN}}')),
    "infinite": crafted(deflated(HEADER[:-1] % 0 + b',"settings":{"a":1e999}}')),
    "many digits": crafted(deflated(HEADER[:-1] % 0 + b',"settings":{"a":1' + b"0" * 10**6)),
    "unknown key": crafted(deflated(HEADER[:-1] % 0 + b',"a":1}')),
    "fewer than no chunks": crafted(deflated(HEADER % -1)),
    "millions of chunks": crafted(deflated(HEADER % 2**32)),
    "too many chunks": crafted(deflated(HEADER % 2**60)),
    "a header of 2^60 bytes": MAGIC + b"\x01" + _varint(2**60) + bytes(100),
    "a header of 2^19 bytes": MAGIC + b"\x01" + _varint(2**19) + bytes(100),
    "a chunk of 2^60 bytes": crafted(deflated(HEADER % 1)) + _varint(2**60) + bytes(100),
    "a chunk of 2^25 bytes": crafted(deflated(HEADER % 1)) + _varint(2**25) + bytes(100),
    "a length in more bytes than it takes": crafted(deflated(HEADER % 1)) + b"\x80\x00" + bytes(4),
    "an endless length": crafted(deflated(HEADER % 1)) + b"\xff" * 1000,
}


@pytest.mark.parametrize("file", [io.BytesIO, Pipe])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_bounded_memory(name, file):
    source = file(HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(InputError) as refusal:
        list(Reader(source).chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
    assert len(str(refusal.value)) < 500
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "setting",
    [float("inf"), "a" * 2**20, "\ud800", nested(220)],
    ids=["inf", "long", "half", "nested"],
)
def test_what_no_reader_would_take_is_not_written(setting):
    header = Header.model_construct(
        identity=IDENTITY, chunks=0, settings={"a": setting}, dataset=Description()
    )
    with pytest.raises(InputError, match="impossible header"):
        Writer(io.BytesIO(), header)


def test_chunks_that_are_too_long_are_not_written():
    writer = Writer(io.BytesIO(), Header(identity=IDENTITY, chunks=1, dataset=Description()))
    with pytest.raises(InputError, match=f"chunk of {2**26 + 1} bytes"):
        writer.write(bytes(2**26 + 1))


@pytest.mark.parametrize("name", ["image", "climate"])
def test_files_of_version_1_are_read(name, request):
    path = GOLDEN / f"version-1-{name}.fct"
    if name == "climate":
        dataset, chunks, said = synthetic(), [b"one", b"", bytes(range(256))], {"quality": 2}
    else:
        image = np.arange(48, dtype="uint8").reshape(4, 4, 3)
        dataset = xr.Dataset({"image": (("y", "x", "channel"), image)})
        chunks, said = [b"weights"], {}
    [signal] = dataset.data_vars
    if request.config.getoption("--regenerate") and not path.exists():  # a format stays as it is
        description, arrays, _ = describe(dataset, [signal])
        header = Header(identity=IDENTITY, chunks=len(chunks), settings=said, dataset=description)
        with path.open("wb") as file, Writer(file, header, arrays) as writer:
            for chunk in chunks:
                writer.write(chunk)
    with path.open("rb") as file:
        reader = Reader(file)
        assert reader.header.identity == IDENTITY
        assert reader.header.settings == said
        assert [chunk for _, chunk in reader.chunks()] == chunks
        values = {signal: dataset[signal].values}
        xr.testing.assert_identical(restore(reader.header.dataset, reader.arrays, values), dataset)


def refusal(mutation: bytes) -> str | None:
    """Return why a file is refused, or None if it is read."""
    try:
        content(mutation)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutations_are_refused_or_harmless(count):
    data = coded([b"first", b"", b"third" * 5], quality=2)
    rng = np.random.default_rng(0)
    for _ in range(count // 2):
        assert refusal(damaged(data, rng))
        # checksums that were set right may be those of other content
        assert "\n" not in (refusal(forged(data, rng)) or "")


def test_mutations_follow_from_their_seed():
    data = coded([b"first", b"second"])
    one, other = (
        [mutate(data, rng) for _ in range(50)]
        for rng in (np.random.default_rng(1), np.random.default_rng(1))
    )
    assert one == other
    assert len(set(one)) > 40
