import dataclasses
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from published_rates import Curve, at_rate, published_curves
from rival_audio import audio
from rival_fields import FIELD_CODECS, VOLUME_CODECS, fields, volume
from rival_images import IMAGE_CODECS, images, through_pillow
from rivals import Point, at_rmse, front, rate_curve

from functory.errors import InputError

CODECS = sorted(FIELD_CODECS)


def temperatures(shape=(6, 20, 24)):
    """Smooth fields that move, in kelvins."""
    t, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    waves = np.sin(7 * x + 3 * t) * np.cos(5 * y) + 0.3 * np.sin(23 * x - 11 * y + 2 * t)
    return (280 + 8 * waves).astype(np.float32)


def photograph(size=48):
    y, x = np.mgrid[:size, :size] / size
    noise = np.random.default_rng(0).normal(0, 6, (size, size, 3))
    smooth = np.stack([200 * x, 120 + 80 * np.sin(6 * y), 255 * x * y], axis=-1)
    return (smooth + noise).clip(0, 255).astype(np.uint8)


def speech(seconds=0.6, rate=16000):
    t = np.arange(int(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * 140 * k * t + k * k) / k for k in range(1, 12))
    return (0.1 * voice * (1 + np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def point(size, rmse, choice=""):
    return Point("codec", choice, "", size, 0.0, rmse, -20 * np.log10(rmse))


@pytest.mark.parametrize("codec", CODECS)
def test_fields_come_back_better_for_more_bytes(codec):
    values = temperatures()
    points = fields(values, codecs={codec: FIELD_CODECS[codec]}, qualities=(20, 40, 60))
    for choice in FIELD_CODECS[codec]:
        coarse, middle, fine = [p for p in points if p.choice == choice]
        assert coarse.file_bytes < middle.file_bytes < fine.file_bytes
        assert coarse.rmse > middle.rmse > fine.rmse
        assert fine.rmse < 3 * np.ptp(values) * 10 ** (-60 / 20)
        assert fine.psnr == pytest.approx(20 * np.log10(np.ptp(values) / fine.rmse))


def test_field_by_field_shares_nothing():
    values = temperatures()
    codecs = {"SZ3": {"2-D": FIELD_CODECS["SZ3"]["2-D"]}}
    (once,) = fields(values[:1].repeat(3, axis=0), codecs=codecs, qualities=(30,))
    (alone,) = fields(values[:1], codecs=codecs, qualities=(30,))
    assert once.bytes == alone.bytes
    assert once.rmse == pytest.approx(alone.rmse)


@pytest.mark.parametrize("codec", ["SZ3", "SPERR", "JPEG 2000"])
def test_a_target_is_met_within_one_per_cent(codec):
    codecs = {codec: dict([*FIELD_CODECS[codec].items()][:1])}
    points = fields(temperatures((4, 24, 30)), (0.3,), codecs, qualities=(15, 45))
    assert min(abs(p.rmse / 0.3 - 1) for p in points) < 0.01
    assert len(points) > 2


def test_bit_rounding_is_the_nearest_of_few_mantissas():
    values = temperatures()
    coder = FIELD_CODECS["bit rounding + LZMA"]["3-D"]
    decoded = coder(values, (260.0, 300.0), 30.0).decoded
    assert np.unique(decoded % 4).tolist() == [0]  # 6 bits of mantissa: steps of 4 from 256 on
    assert np.abs(decoded - values).max() <= 2


@given(st.floats(0.011, 0.99))
def test_the_rate_at_an_error_lies_on_the_law_of_the_points(target):
    points = [point(100 * rmse**-0.7, rmse) for rmse in (1.0, 0.3, 0.1, 0.01)]
    assert at_rmse(points, target) == pytest.approx(800 * target**-0.7)
    with_headers = [dataclasses.replace(p, overhead_bytes=5 * p.bytes) for p in points]
    assert at_rmse(with_headers, target) == pytest.approx(6 * at_rmse(points, target))
    assert at_rmse(with_headers, target, headers=False) == pytest.approx(at_rmse(points, target))


def test_what_another_setting_beats_does_not_count():
    good = [point(10, 1.0), point(20, 0.5), point(40, 0.25)]
    bad = [point(30, 0.6), point(15, 1.2), point(20, 0.7)]
    assert front(bad + good) == good
    assert rate_curve(bad + good, 8) == [(p.bytes, p.psnr) for p in good]


def test_the_better_of_two_choices_is_never_worse_than_either():
    """A point that another choice's line passes above would bend the joint curve below it."""
    first = [point(10, 1.0, "a"), point(100, 0.1, "a")]
    second = [point(20, 0.9, "b"), point(300, 0.04, "b")]
    assert front(first + second) == [*first, second[1]]
    for target in (0.9, 0.5, 0.2):
        best = at_rmse(first + second, target)
        assert best == min(at_rmse(first, target), at_rmse(second, target))
    assert at_rmse(first + second, 0.05) == at_rmse(second, 0.05)


@pytest.mark.parametrize("points", [[], [point(10, 1.0), point(20, 0.5)]])
def test_no_rate_is_made_up_outside_of_what_was_measured(points):
    with pytest.raises(InputError, match="both sides of an RMSE of 2"):
        at_rmse(points, 2.0)


@pytest.mark.parametrize("codec", IMAGE_CODECS)
def test_pictures_are_counted_as_files_are(codec):
    picture = photograph()
    points = images([picture, picture[::-1].copy()], [codec])
    assert len({(p.choice, p.setting) for p in points}) == len(points)
    assert max(p.psnr for p in points) > 32 > min(p.psnr for p in points)
    for variant in IMAGE_CODECS[codec]:
        mine = [p for p in points if p.choice == variant.name]
        assert [p.setting.split()[-1] for p in mine] == [
            f"{setting:g}" for setting in variant.settings
        ]
        assert mine[-1].psnr > mine[0].psnr
        assert mine[-1].file_bytes > mine[0].file_bytes


def test_headers_of_jpeg_are_what_a_file_without_content_has():
    """A grey picture's data are a few bits a block; the rest of the file is headers."""
    grey = np.full((16, 16, 3), 128, np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=50, subsampling="4:4:4")
    options = {"quality": 50, "subsampling": "4:4:4", "optimize": False}
    payload, headers, _ = through_pillow(grey, "JPEG", options)
    assert payload + headers == len(file.getvalue())
    assert 0 < payload <= 12  # 12 blocks, of a bit or two for DC and two to four for their end
    own, fewer, _ = through_pillow(grey, "JPEG", options | {"optimize": True})
    assert fewer < headers  # tables of its own are payload
    assert own > payload


def test_a_volume_is_counted_whole():
    brain = np.round(temperatures((6, 40, 40)) - 260).astype(np.uint8)
    points = volume(brain, qualities=(30, 50))
    assert {p.codec for p in points} == set(VOLUME_CODECS)
    (one, _, _, _) = volume(brain[:3], qualities=(30, 50))
    assert one.overhead_bytes == points[0].overhead_bytes / 2
    for coarse, fine in (points[:2], points[2:]):
        assert fine.rmse < coarse.rmse < 4
        assert fine.file_bytes > coarse.file_bytes


@pytest.mark.parametrize("codec", ["MP3", "Opus"])
def test_speech_is_compared_without_the_delay(codec):
    coarse, fine = audio([speech()], {codec: (16, 128)})
    assert fine.psnr > coarse.psnr
    assert fine.bytes > coarse.bytes
    power = float(np.sqrt(np.mean(speech() ** 2)))
    assert fine.rmse < 0.1 * power  # a delay of a few samples would leave more than that
    assert fine.psnr == pytest.approx(20 * np.log10(2 / fine.rmse))


def test_published_rates_are_interpolated_and_never_extrapolated(tmp_path):
    row = {"dataset": "kodak", "codec": "x", "source": None, "points": [[4, 40], [1, 20]]}
    bare = {"dataset": "kodak", "codec": "coinpp_base|3 steps", "source": "y", "points": [[1, 20]]}
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"rows": [row, bare]}))
    curves = published_curves(path)["kodak"]
    curve = curves["x"]
    assert curve == Curve("kodak", "x", "", "bits per pixel", "PSNR in dB", ((1, 20), (4, 40)))
    assert [at_rate(curve, rate) for rate in (1, 2, 4)] == pytest.approx([20, 30, 40])
    assert np.isnan([at_rate(curve, 0.9), at_rate(curve, 4.1)]).all()
    assert "32 bits per latent" in curves["coinpp_base|3 steps"].rate_unit


@pytest.mark.peers
def test_jpeg_of_cifar10_is_as_published(data):
    """The published files have the tables of the standard, and colours at half resolution."""
    path = data.parent / "anchors" / "rate_distortion.json"
    if not path.exists():
        pytest.skip(f"no published curves at {path}")
    published = published_curves(path)["cifar10"]["jpeg"]
    rows = np.asarray(Image.open(data / "images" / "cifar10" / "cifar10_batch_0.png"))
    pictures = list(rows[:30].reshape(-1, 32, 32, 3))
    points = [p for p in images(pictures, ["JPEG"]) if p.choice == "4:2:0, usual tables"]
    ours = Curve("cifar10", "JPEG", "", "", "", tuple(rate_curve(points, 1024)))
    for rate in (5.8, 7.0, 8.6):
        assert at_rate(ours, rate) == pytest.approx(at_rate(published, rate), abs=1.0)
