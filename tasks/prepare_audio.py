"""Prepare sounds: from raw files to a signal set of sounds."""

from collections import Counter

from functory.configuration import Config
from functory.sources.audio import AudioSource, recordings_of
from functory.sources.audio_demo import AudioDemo
from functory.sources.audio_preparation import AudioPreparation, prepare_audio
from storage.references import Reference
from tasks.acquire import raw_files
from tasks.stage import Outcome, Work, stage

__all__ = ["PrepareAudio", "prepare_signals_of_audio"]


class PrepareAudio(Config):
    """What is prepared, and how."""

    source: AudioSource
    """The source that was acquired: says how its files are read."""
    preparation: AudioPreparation = AudioPreparation()
    """Length, rate and split."""


@stage("signals", version=1)
def prepare_signals_of_audio(work: Work, config: PrepareAudio, raw: Reference) -> Outcome:
    """Read the start of each recording, resample, leave out short ones, and split by speaker."""
    recordings = recordings_of(config.source, raw_files(work.path(raw)))
    licence = work.licence(raw)
    demo = isinstance(config.source, AudioDemo)
    source = "synthetic sounds of Functory's demo generator" if demo else config.source.kind
    attributes = {"licence": licence, "source": source}
    signals = prepare_audio(recordings, config.preparation, work.result, attributes)
    speakers = signals["speaker"].values.tolist() if "speaker" in signals.coords else []
    summary = {
        "signals": signals.sizes["sample"],
        "grid": [signals.sizes["t"]],
        "sample_rate": signals.attrs["sample_rate"],
        "short": signals.attrs["recordings_short"],
        "repeated": signals.attrs["recordings_repeated"],
        "speakers": len(set(speakers)),
        "splits": dict(sorted(Counter(signals["split"].values.tolist()).items())),
    }
    return Outcome(licence, summary)
