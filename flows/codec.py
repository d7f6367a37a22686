"""The flow `codec`: any data → functaset → a codec that `functory encode` can use → report."""

from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from flows.task_runner import WORKERS
from functory.configuration import Config
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.sources.audio import AudioSource
from functory.sources.audio_preparation import AudioPreparation
from functory.sources.era5 import Source
from functory.sources.image_preparation import ImagePreparation
from functory.sources.images import ImageSource
from functory.sources.preparation import Preparation
from functory.sources.volume_preparation import VolumePreparation
from functory.sources.volumes import VolumeSource
from storage.references import Name, Reference
from tasks.acquire import Acquisition, acquire
from tasks.acquire_audio import AudioAcquisition, acquire_audio
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.acquire_volumes import VolumeAcquisition, acquire_volumes
from tasks.artifacts import show_report
from tasks.codec import CodecTraining
from tasks.codec import codec as train_codec
from tasks.fit import fit_all
from tasks.metalearn import metalearn as learn
from tasks.prepare import PrepareERA5, prepare
from tasks.prepare_audio import PrepareAudio, prepare_signals_of_audio
from tasks.prepare_images import PrepareImages, prepare_signals_of_images
from tasks.prepare_volumes import PrepareVolumes, prepare_signals_of_volumes
from tasks.report_codec import CodecReporting, report_codec

__all__ = ["ClimateData", "ImageData", "SoundData", "VolumeData", "codec"]


class ClimateData(Config):
    """Fields on latitudes and longitudes."""

    modality: Literal["climate"] = "climate"
    source: Source
    """Where the raw fields come from."""
    preparation: Preparation = Preparation()
    """Grid, split and normalisation; a codec is best tested on later times."""


class ImageData(Config):
    """Images."""

    modality: Literal["image"] = "image"
    source: ImageSource
    """Where the images come from."""
    preparation: ImagePreparation = ImagePreparation()
    """Size, crop, colour and split."""


class SoundData(Config):
    """Recordings of sound."""

    modality: Literal["audio"] = "audio"
    source: AudioSource
    """Where the recordings come from."""
    preparation: AudioPreparation = AudioPreparation()
    """Length, rate and split."""


class VolumeData(Config):
    """Volumes, such as scans of heads."""

    modality: Literal["volume"] = "volume"
    source: VolumeSource
    """Where the volumes come from."""
    preparation: VolumePreparation = VolumePreparation()
    """Size of the parts, and split."""


Data = Annotated[ClimateData | ImageData | SoundData | VolumeData, Field(discriminator="modality")]


@flow(
    name="codec",
    flow_run_name="{name}",
    task_runner=WORKERS,
)
def codec(
    name: Name,
    data: Data,
    metalearn: MetaLearning = MetaLearning(),
    fit: Fitting = Fitting(),
    training: CodecTraining = CodecTraining(),
    report: CodecReporting = CodecReporting(),
) -> Reference:
    """Train a codec: a network that is learned from data, and what codes its modulations.

    Args:
        name: What all results are called in the store; `functory encode --with` takes it.
        data: What the codec is for: modality `climate`, `image`, `audio` or `volume`, with a source
            and its preparation.
        metalearn: The base network and how it is learned; `rate` makes that aware of rounding.
        fit: How all signals are fitted.
        training: Qualities and entropy models.
        report: What the report shows.
    """
    signals = _prepared(name, data)
    network = learn(name, metalearn, signals=signals)
    functaset = fit_all(name, fit, signals=signals, network=network)
    trained = train_codec(name, training, signals=signals, network=network, functaset=functaset)
    page = report_codec(name, report, signals=signals, functaset=functaset, codec=trained)
    show_report(page)
    return page


def _prepared(name: str, data: ClimateData | ImageData | SoundData | VolumeData) -> Reference:
    """Acquire and prepare signals, whatever they are."""
    if isinstance(data, ClimateData):
        raw = acquire(name, Acquisition(source=data.source))
        fields = PrepareERA5(source=data.source, preparation=data.preparation)
        return prepare(name, fields, raw=raw)
    if isinstance(data, ImageData):
        raw = acquire_images(name, ImageAcquisition(source=data.source))
        images = PrepareImages(source=data.source, preparation=data.preparation)
        return prepare_signals_of_images(name, images, raw=raw)
    if isinstance(data, SoundData):
        raw = acquire_audio(name, AudioAcquisition(source=data.source))
        sounds = PrepareAudio(source=data.source, preparation=data.preparation)
        return prepare_signals_of_audio(name, sounds, raw=raw)
    raw = acquire_volumes(name, VolumeAcquisition(source=data.source))
    volumes = PrepareVolumes(source=data.source, preparation=data.preparation)
    return prepare_signals_of_volumes(name, volumes, raw=raw)
