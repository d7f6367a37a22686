from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.errors import InputError
from functory.formats import read, write

BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
SUBTYPES = {
    ".wav": ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"],
    ".flac": ["PCM_S8", "PCM_16", "PCM_24"],
}


def noise(frames: int, channels: int, subtype: str, seed: int = 0) -> np.ndarray:
    """Return values that a file of a subtype can hold, the least and the greatest among them."""
    limit = 2 ** (BITS.get(subtype, 24) - 1)
    values = np.random.default_rng(seed).integers(-limit, limit, (frames, channels))
    values.flat[0], values.flat[-1] = -limit, limit - 1
    return (values / limit).astype(np.float32)


def signals(values: np.ndarray, rate: int, **attributes: object) -> xr.Dataset:
    dims = ("sample", "t", "channel") if values.ndim == 2 else ("sample", "t")
    times = {"t": np.arange(len(values)) / rate}
    return xr.Dataset({"audio": (dims, values[None])}, times, attributes)


@settings(max_examples=20)
@given(
    st.data(),
    st.sampled_from([".wav", ".flac"]),
    st.integers(2, 400),
    st.integers(1, 3),
    st.sampled_from([8000, 16000, 44100, 11025]),
)
def test_round_trip(
    data: st.DataObject, suffix: str, frames: int, channels: int, rate: int
) -> None:
    subtype = data.draw(st.sampled_from(SUBTYPES[suffix]))
    values = noise(frames, channels, subtype)
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        write(signals(values if channels > 1 else values[:, 0], rate, subtype=subtype), path)
        again = read(path).compute()
        assert soundfile.info(path).subtype == subtype
    found = again["audio"][0].values.reshape(frames, channels)
    np.testing.assert_array_equal(found, values)
    assert again["audio"].dims == ("sample", "t", "channel")[: 3 if channels > 1 else 2]
    assert (again.attrs["sample_rate"], again.attrs["subtype"]) == (rate, subtype)
    np.testing.assert_allclose(again["t"], np.arange(frames) / rate, atol=1e-12)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
def test_values_are_rounded_and_clipped(tmp_path: Path, subtype: str) -> None:
    limit = 2 ** (BITS[subtype] - 1)
    levels = np.array([-9.0 * limit, -2.5001, -2.4, -0.4, 0.4, 0.6, 99.6, 2.0 * limit])
    write(signals(levels / limit, 8000, subtype=subtype), tmp_path / "a.wav")
    again = soundfile.read(tmp_path / "a.wav")[0] * limit
    expected = [-limit, -3, -2, 0, 0, 1, min(100, limit - 1), limit - 1]
    np.testing.assert_array_equal(again, expected)


def test_a_finer_signal_has_a_higher_rate(tmp_path: Path) -> None:
    values = noise(100, 1, "PCM_16")[:, 0]
    finer = signals(values, 8000).assign_coords(t=(np.arange(100) - 1.5) / 32000)
    write(finer.assign_attrs(sample_rate=8000), tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").samplerate == 32000


def test_a_subtype_of_another_format(tmp_path: Path) -> None:
    write(signals(noise(9, 1, "FLOAT")[:, 0], 8000, subtype="FLOAT"), tmp_path / "a.flac")
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_16"


def test_real_speech(data: Path, tmp_path: Path) -> None:
    path = min((data / "audio").rglob("*.flac"), key=lambda file: file.stat().st_size)
    speech = read(path)
    assert speech["audio"].chunks is not None
    assert speech.attrs["modality"] == "audio"
    assert speech.attrs["sample_dimension"] == "sample"
    assert speech["t"].attrs["units"] == "s"
    for name in ("a.flac", "a.wav"):
        write(speech, tmp_path / name)
        one, other = (soundfile.read(file, dtype="int16")[0] for file in (path, tmp_path / name))
        np.testing.assert_array_equal(one, other)


def test_parts_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functory.formats.audio.PIECE", 100)
    values = noise(333, 2, "PCM_16")
    soundfile.write(tmp_path / "a.flac", values, 8000)
    audio = read(tmp_path / "a.flac")["audio"]
    assert audio.chunks is not None
    assert audio.chunks[1] == (50,) * 6 + (33,)
    np.testing.assert_array_equal(audio[0], values)
    np.testing.assert_array_equal(audio[0, 170:190], values[170:190])
    write(audio.to_dataset(), tmp_path / "b.flac")
    np.testing.assert_array_equal(soundfile.read(tmp_path / "b.flac")[0], values)


def test_ogg_is_read(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(4000) / 9)
    soundfile.write(tmp_path / "a.ogg", tone, 8000, subtype="VORBIS")
    again = read(tmp_path / "a.ogg")
    np.testing.assert_allclose(again["audio"][0], tone, atol=0.1)
    write(again, tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_16"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, noise(20_000, 1, "PCM_16") / 2, 8000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(InputError, match=rf"a{suffix} cannot be read as audio: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_wav_of_a_length_that_its_writer_did_not_know(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(50, 1, "PCM_16"), 8000)
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read(path).sizes["t"] == 50


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, [0.5], 8000)
    with pytest.raises(InputError, match=r"has 1 sample of audio"):
        read(path)
    soundfile.write(path, [0.0, 0.5, np.nan], 8000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"not finite, the first at 0\.00025 s"):
        read(path).compute()
    with pytest.raises(InputError, match="not finite cannot be written as whole numbers"):
        write(signals(np.array([0.0, np.nan]), 8000), tmp_path / "b.wav")
