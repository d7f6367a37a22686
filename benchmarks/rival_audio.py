"""Speech through MP3 and Opus."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rivals import Point, mean_point
from scipy.signal import correlate, resample_poly

__all__ = ["audio"]

Array = NDArray[np.float32]
CODERS = {  # encoder, decoder, format of samples, and the options that gave the best PSNR
    "MP3": ("libmp3lame", "mp3float", "fltp", {"compression_level": "0"}),
    "Opus": ("libopus", "opus", "flt", {"frame_duration": "60"}),
}
RATES = {"MP3": (8, 16, 24, 32, 40, 48, 64, 96, 128), "Opus": (8, 16, 24, 32, 48, 64, 96, 128)}


def audio(
    clips: Sequence[Array],
    kbits: Mapping[str, Iterable[int]] = RATES,
) -> list[Point]:
    """Code clips of 16 kHz between -1 and 1 with MP3 and Opus; bytes are of packets, per clip.

    PSNR is counted as for COIN++ on LibriSpeech: clips are scaled to [0, 1], x/2 + 1/2, and the
    peak is 1; so a clip's PSNR is 10 log10(4 / MSE) in its own unit. What the codec delays is found
    by cross-correlation and taken off first.
    """
    points = []
    for codec, rates in kbits.items():
        for rate in rates:
            coded = [_through_av(clip, codec, rate) for clip in clips]
            kept = [
                clip[: len(decoded)] for clip, (_, _, decoded) in zip(clips, coded, strict=True)
            ]
            points.append(mean_point(codec, "", f"{rate} kbit/s", coded, kept, peak=2))
    return points


def _through_av(clip: Array, codec: str, kbits: int) -> tuple[int, int, Array]:
    """Return the bytes of the packets, none of headers, and what is decoded, without the delay."""
    import av  # its own decoder of Opus: that of libopus turns phases, and loses up to 5 dB by it

    encoder, decoder, form, options = CODERS[codec]
    coding = av.CodecContext.create(encoder, "w")
    coding.options = options
    coding.sample_rate, coding.layout, coding.bit_rate = 16000, "mono", 1000 * kbits
    coding.format = form
    frame = av.AudioFrame.from_ndarray(clip[None], format=form, layout="mono")
    frame.sample_rate = coding.sample_rate
    packets = coding.encode(frame) + coding.encode(None)
    decoding = av.CodecContext.create(decoder, "r")
    if coding.extradata:
        decoding.extradata = coding.extradata
    frames = [f for packet in packets for f in decoding.decode(packet)] + decoding.decode(None)
    heard = np.concatenate([f.to_ndarray().reshape(-1) for f in frames])
    factor = frames[0].sample_rate // coding.sample_rate  # Opus plays at 48 kHz
    heard = heard[_delay(heard, resample_poly(clip, factor, 1)) :]
    decoded = resample_poly(heard, 1, factor)[: len(clip)].astype(np.float32)
    return sum(packet.size for packet in packets), 0, decoded


def _delay(later: NDArray[Any], earlier: NDArray[Any]) -> int:
    """Return by how many samples, at most 3,200, one signal comes after another."""
    return int(correlate(later, earlier)[len(earlier) - 1 :][:3200].argmax())
