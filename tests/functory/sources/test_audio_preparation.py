"""Sounds become a signal set: the start of each, at one rate, split by speaker."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.errors import InputError
from functory.fields.coordinates import Patches, coordinates_for
from functory.signals import signals_of
from functory.sources.audio import recordings_of
from functory.sources.audio_demo import AudioDemo, demo_recordings
from functory.sources.audio_preparation import AudioPreparation, prepare_audio
from functory.sources.librispeech import LibriSpeech, find_librispeech, list_librispeech
from functory.sources.recordings import (
    AudioFiles,
    Recording,
    Sound,
    find_audio_files,
    list_audio_files,
    read_sound,
)
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomSizes, SourceSplit

RATE = 1_000
CONFIG = AudioPreparation(seconds=0.5, rate=RATE, split=RandomSizes(train=2, test=1))
Prepare = Callable[..., xr.Dataset]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Return a function that prepares recordings into a folder of their own."""
    folders = iter(range(100))

    def prepare(recordings: list[Recording], config: AudioPreparation = CONFIG) -> xr.Dataset:
        return prepare_audio(recordings, config, tmp_path / str(next(folders)), {"licence": "CC0"})

    return prepare


def noise(seed: int, samples: int = 600, channels: int = 1) -> np.ndarray:
    """Return noise of 16 bits, as a share of full scale."""
    levels = np.random.default_rng(seed).integers(-9000, 9000, (samples, channels))
    return (levels / 2**15).astype(np.float32)


def recording(name: str, values: np.ndarray, rate: int = RATE, split: str = "") -> Recording:
    origin = {"speaker": name.split("-")[0]}

    def read(seconds: float) -> Sound:
        return Sound(values[: round(seconds * rate)], rate)

    return Recording(name, read, origin, split)


def sounds() -> list[Recording]:
    names = [f"{speaker}-{i}" for speaker in "abc" for i in range(3)]
    return [recording(name, noise(seed)) for seed, name in enumerate(names)]


# The signal set


def test_it_is_a_signal_set(prepared: Prepare) -> None:
    found = prepared(sounds())
    assert found["audio"].dims == ("sample", "t")
    assert found.sizes == {"sample": 9, "t": 500}
    np.testing.assert_allclose(found["t"], np.arange(500) / RATE)
    assert found["t"].attrs["units"] == "s"
    assert found["name"].values.tolist() == [r.name for r in sounds()]
    attributes = {"sample_dimension": "sample", "mask": "none", "modality": "audio"}
    assert attributes.items() | {("licence", "CC0"), ("recordings", 9)} <= found.attrs.items()


def test_sixteen_bits_are_kept_exactly_and_normalised_to_between_0_and_1(
    prepared: Prepare,
) -> None:
    found = prepared(sounds())
    expected = np.stack([noise(seed)[:500, 0] for seed in range(9)])
    np.testing.assert_array_equal(found["audio"].values, expected)
    signals = signals_of(found, coordinates_for("box", ["t"], {"t": found["t"].values}))
    np.testing.assert_allclose(signals.features[..., 0], (expected + 1) / 2, atol=1e-7)


def test_what_is_said_by_one_speaker_is_in_one_split(prepared: Prepare) -> None:
    found = prepared(sounds())
    pairs = set(zip(found["speaker"].values, found["split"].values, strict=True))
    assert len(pairs) == 3
    assert sorted(split for _, split in pairs) == ["test", "train", "train"]


def test_the_corpus_s_own_split(prepared: Prepare) -> None:
    config = CONFIG.model_copy(update={"split": SourceSplit()})
    marks = ["train", "train", "test"]
    own = [recording(f"a-{i}", noise(i), split=mark) for i, mark in enumerate(marks)]
    assert prepared(own, config)["split"].values.tolist() == marks
    with pytest.raises(InputError, match="a-0 is in no partition"):
        prepared(sounds()[:3], config)


def test_channels_are_averaged(prepared: Prepare) -> None:
    pairs = [recording(f"{speaker}-0", noise(i, channels=2)) for i, speaker in enumerate("abc")]
    found = prepared(pairs)
    for i in range(3):
        mean = noise(i, channels=2)[:500].mean(1)
        np.testing.assert_allclose(found["audio"][i], mean, atol=2**-15)


@pytest.mark.parametrize("rate", [500, 1_500, 4_410])
def test_other_rates_give_the_same_sound(prepared: Prepare, rate: int) -> None:
    def tone(rate: int, frequency: float) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate)[:, None]

    frequencies = dict(zip("abc", (23.0, 60.0, 111.0), strict=True))
    found = prepared([recording(f"{s}-0", tone(rate, f), rate) for s, f in frequencies.items()])
    for row, frequency in zip(found["audio"].values, frequencies.values(), strict=True):
        inside = slice(50, None)  # before that, the filter meets the silence before the start
        np.testing.assert_allclose(row[inside], tone(RATE, frequency)[:500][inside, 0], atol=0.01)


def test_short_recordings_are_left_out_and_counted_or_padded(prepared: Prepare) -> None:
    short = recording("a-short", noise(77, samples=300))
    found = prepared([*sounds(), short])
    assert found.attrs["recordings_short"] == 1
    assert "a-short" not in found["name"].values
    padded = prepared([*sounds(), short], CONFIG.model_copy(update={"short": "pad"}))
    np.testing.assert_array_equal(padded["audio"][-1, :300], noise(77, samples=300)[:, 0])
    assert not padded["audio"][-1, 300:].any()
    with pytest.raises(InputError, match=r"None of 1 recordings has 0.5 seconds"):
        prepared([short])


def test_equal_sounds_are_left_out_and_counted(prepared: Prepare) -> None:
    again = recording("c-again", noise(0))
    found = prepared([*sounds(), again])
    assert found.attrs["recordings_repeated"] == 1
    assert found.sizes["sample"] == 9


def test_too_loud_samples_are_clipped(prepared: Prepare) -> None:
    loud = [recording(f"{s}-0", 3 * np.sign(noise(i))) for i, s in enumerate("abc")]
    values = prepared(loud)["audio"].values
    assert values.min() == -1
    assert values.max() == 1 - 2**-15


def test_it_can_be_opened_again(tmp_path: Path, prepared: Prepare) -> None:
    found = prepared(sounds()).load()
    again = open_signals(tmp_path / "0", consolidated=False).load()
    xr.testing.assert_identical(again, found)
    with pytest.raises(FileExistsError):
        prepare_audio(sounds(), CONFIG, tmp_path / "0", {})


def test_patches_of_a_sound_are_its_parts(prepared: Prepare) -> None:
    found = prepared(sounds())
    grid = {"t": found["t"].values}
    coordinates = coordinates_for("box", ["t"], grid, Patches(size=80))
    signals = signals_of(found, coordinates)
    assert signals.features.shape == (9 * 7, 80, 1)  # the last cells stick out, and mirror
    sound = (found["audio"].values[4] + 1) / 2
    np.testing.assert_allclose(signals.features[4 * 7 + 2, :, 0], sound[160:240], atol=1e-7)
    last = signals.features[4 * 7 + 6, :, 0]
    np.testing.assert_allclose(last, np.r_[sound[480:], sound[::-1][:60]], atol=1e-7)


# Files


def write(path: Path, values: np.ndarray, rate: int = RATE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values, rate, **options)
    return path


def test_files_are_found_named_and_read(tmp_path: Path) -> None:
    write(tmp_path / "b" / "10.wav", noise(1, channels=2))
    write(tmp_path / "b" / "9.flac", noise(2))
    (tmp_path / "b" / "notes.txt").write_text("no sound")
    source = AudioFiles(paths=(str(tmp_path),))
    found = list_audio_files(source, find_audio_files(source))
    assert [r.name for r in found] == ["b/9.flac", "b/10.wav"]
    np.testing.assert_array_equal(found[1].read(0.2).values, noise(1, channels=2)[:200])
    np.testing.assert_array_equal(found[0].read(60).values, noise(2))


def test_files_without_speakers_are_split_one_by_one(tmp_path: Path, prepared: Prepare) -> None:
    for i in range(4):
        write(tmp_path / "sounds" / f"{i}.wav", noise(i))
    source = AudioFiles(paths=(str(tmp_path / "sounds" / "*.wav"),))
    config = CONFIG.model_copy(update={"split": RandomSizes(train=3, test=1)})
    found = prepared(list_audio_files(source, find_audio_files(source)), config)
    assert sorted(found["split"].values) == ["test", "train", "train", "train"]
    assert "speaker" not in found.coords


@pytest.mark.parametrize("content", [b"", b"RIFF", b"fLaC" + bytes(64), bytes(range(256))])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_damaged_files_are_refused_with_a_sentence(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"bad.{suffix} cannot be read as sound"):
        read_sound(path, 1)


@settings(max_examples=60)
@given(place=st.integers(0, 43), value=st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "header.wav", noise(0, samples=20))
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)
    with suppress(InputError):  # nothing else
        found = read_sound(path, 1)
        assert found.values.size <= 80
        assert np.isfinite(found.values).all()


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    values = noise(0).copy()
    values[123] = np.nan
    path = write(tmp_path / "nan.wav", values, subtype="FLOAT")
    with pytest.raises(InputError, match="no number at sample 123"):
        read_sound(path, 1)


# The demo


def test_a_demo_s_recording_depends_on_its_voice_number_and_seed_alone() -> None:
    def short(**options: Any) -> list[Recording]:
        return demo_recordings(AudioDemo(speakers=3, seconds=0.5, **options))

    few, many, other = short(recordings=6), short(recordings=15), short(recordings=6, seed=1)
    for one, same in zip(few, many, strict=False):
        assert one.name == same.name
        np.testing.assert_array_equal(one.read(0.2).values, same.read(3).values[:3200])
    values = [r.read(0.5).values for r in many]
    assert len({v.tobytes() for v in values}) == 15
    assert max(abs(v).max() for v in values) < 1
    assert min(v.std() for v in values) > 0.005
    assert (other[0].read(1).values != few[0].read(1).values).any()


def test_a_demo_s_sound_is_only_sampled_by_its_rate() -> None:
    coarse, fine = (
        demo_recordings(AudioDemo(recordings=1, rate=rate))[0].read(0.5)
        for rate in (16_000, 48_000)
    )
    np.testing.assert_allclose(fine.values[::3], coarse.values, atol=1e-5)


def test_the_demo_is_prepared(prepared: Prepare) -> None:
    recordings = recordings_of(AudioDemo(recordings=12, speakers=4, seconds=0.5, rate=8_000), [])
    config = AudioPreparation(seconds=0.5, rate=8_000, split=RandomSizes(train=3, test=1))
    found = prepared(recordings, config)
    assert found.sizes == {"sample": 12, "t": 4_000}
    assert found["speaker"].values.tolist() == [f"voice-{i}" for i in range(4)] * 3


# Real speech


def test_real_speech_is_prepared_as_in_the_thesis(data: Path, prepared: Prepare) -> None:
    files = find_librispeech(LibriSpeech(path=str(data / "audio")))
    config = AudioPreparation(split=RandomSizes(train=4, test=2))
    found = prepared(list_librispeech(files), config)
    assert found.sizes == {"sample": 56, "t": 48_000}
    assert found.attrs["recordings_short"] == 4
    assert not {"1688-142285-0002"} & set(found["name"].values)
    speakers = {
        split: set(found["speaker"].values[found["split"] == split]) for split in ("train", "test")
    }
    assert len(speakers["train"]) == 4
    assert len(speakers["test"]) == 2
    assert not speakers["train"] & speakers["test"]


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"rate": 10}, {"short": "cut"}, {"split": {"method": "year"}}]
)
def test_configuration_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AudioPreparation.model_validate(wrong)
