"""COIN on photographs: PSNR against CPU seconds, the paper's Adam beside the fast way.

The paper takes 50,000 steps of Adam at 2e-4 on all pixels of a Kodak photograph. The fast way
ends in a cosine, so it is run anew for each number of CPU seconds; Adam at a constant rate is run
once, for the largest, and read on the way. "coded" are weights in as few bits as lose at most
0.1 dB, entropy-coded.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from runs import print_table

from functory.coding.coin import encode_weights
from functory.coding.coin_fitting import CoinConfig, CoinResult, fit_coin

PUBLISHED: dict[tuple[str, str], tuple[float, float]] = {
    # PSNR of COIN and of JPEG at equal bpp: thesis, figures 3.7 to 3.14
    ("2", "5x30"): (28.69, 24.67),
    ("3", "5x30"): (29.02, 23.63),
    ("5", "10x28"): (20.97, 21.34),
    ("7", "10x28"): (26.92, 27.56),
    ("15", "5x30"): (27.35, 21.74),
    ("15", "10x28"): (29.31, 28.85),
    ("16", "5x30"): (27.19, 24.16),
    ("23", "10x28"): (31.08, 30.92),
}
TRIAL = {"fast": 200, "adam": 4}  # steps that tell how long one takes
PAPER = 50_000  # steps of the paper


@dataclass(frozen=True)
class Row:
    """One method on one image for a number of CPU seconds."""

    image: str
    size: str
    method: str
    seconds: float
    steps: int
    psnr: float
    psnr_coded: float | None
    bpp: float
    bpp_coded: float | None
    history: list[tuple[float, float]]


def read(name: str, folder: Path) -> torch.Tensor:
    path = folder / "images" / "kodak" / f"kodim{name.zfill(2)}.png"
    with Image.open(path if path.exists() else name) as file:
        return torch.from_numpy(np.asarray(file.convert("RGB"), dtype=np.float32) / 255)


def seconds_per_step(image: torch.Tensor, config: CoinConfig) -> float:
    """Return the CPU seconds of a step, those before the first measurement not counted."""
    trial = config.model_copy(update={"steps": TRIAL[config.method], "bits": 16})
    history = fit_coin(image, trial).history
    share = (len(history) - 1) / len(history)
    return (history[-1][0] - history[0][0]) / (share * trial.steps)


def fit(
    image: torch.Tensor, config: CoinConfig, seconds: float, pace: float
) -> tuple[CoinResult, int]:
    steps = max(1, round(seconds / pace))
    return fit_coin(image, config.model_copy(update={"steps": steps})), steps


def fast_rows(name: str, image: torch.Tensor, config: CoinConfig, budgets: list[int]) -> list[Row]:
    pace, rows = seconds_per_step(image, config), []
    for seconds in budgets:
        result, steps = fit(image, config, seconds, pace)
        used = result.history[-1][0]
        pace = used / steps  # of a longer run than the trial
        row = Row(
            image=name,
            size=f"{config.layers}x{config.width}",
            method="fast",
            seconds=used,
            steps=steps,
            psnr=result.fitted_psnr,
            psnr_coded=result.psnr,
            bpp=bits_per_pixel(encode_weights(result.network), image),
            bpp_coded=bits_per_pixel(result.coded, image),
            history=result.history,
        )
        report(row)
        rows.append(row)
    return rows


def adam_rows(name: str, image: torch.Tensor, config: CoinConfig, budgets: list[int]) -> list[Row]:
    result, steps = fit(image, config, max(budgets), seconds_per_step(image, config))
    used, rows = result.history[-1][0], []
    for seconds in budgets:
        passed = [(s, p) for s, p in result.history if s <= seconds * used / max(budgets)]
        row = Row(
            image=name,
            size=f"{config.layers}x{config.width}",
            method="adam",
            seconds=passed[-1][0],
            steps=round(steps * passed[-1][0] / used),
            psnr=max(p for _, p in passed),
            psnr_coded=None,
            bpp=bits_per_pixel(result.coded, image),
            bpp_coded=None,
            history=result.history,
        )
        report(row)
        rows.append(row)
    hours = PAPER * used / steps / 3600
    print(f"  the paper's {PAPER:,} steps would take {hours:.1f} CPU hours", flush=True)
    return rows


def bits_per_pixel(coded: bytes, image: torch.Tensor) -> float:
    return 8 * len(coded) / (image.shape[0] * image.shape[1])


def report(row: Row) -> None:
    print(f"  {row.image} {row.method} {row.seconds:.0f} s: {row.psnr:.2f} dB", flush=True)


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    head = ("image", "method", "CPU s", "steps", "dB", "bpp at 16 bits", "dB coded", "bpp coded")
    cells = [(*head, "dB published: COIN, JPEG")]
    for row in sorted(rows, key=lambda r: (r.image, r.method, r.seconds)):
        cells.append(
            (
                row.image,
                row.method,
                f"{row.seconds:.0f}",
                str(row.steps),
                f"{row.psnr:.2f}",
                f"{row.bpp:.4f}",
                "" if row.psnr_coded is None else f"{row.psnr_coded:.2f}",
                "" if row.bpp_coded is None else f"{row.bpp_coded:.4f}",
                ", ".join(f"{p:.2f}" for p in PUBLISHED.get((row.image, row.size), ())),
            )
        )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", nargs="+", default=["2", "15", "23"], help="numbers, or paths")
    parser.add_argument("--size", default="5x30", help="layers and width")
    parser.add_argument("--seconds", nargs="+", type=int, default=[60, 120, 300], help="CPU s")
    parser.add_argument("--methods", nargs="+", default=["fast", "adam"], choices=["fast", "adam"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default=os.environ.get("FUNCTORY_TEST_DATA", "../shared/data"))
    parser.add_argument("--output", type=Path, help="where results go, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    layers, width = (int(number) for number in arguments.size.split("x"))
    rows, began = [], time.process_time()
    for name in arguments.images:
        image = read(name, Path(arguments.data))
        for method in arguments.methods:
            config = CoinConfig(
                layers=layers,
                width=width,
                method=method,
                bits="fewest" if method == "fast" else 16,
                seed=arguments.seed,
                device="cpu",
            )
            run = fast_rows if method == "fast" else adam_rows
            rows += run(name, image, config, arguments.seconds)
            if arguments.output is not None:
                arguments.output.write_text(json.dumps([asdict(r) for r in rows], indent=1))
    print_table(f"COIN of {arguments.size}", table(rows))
    print(f"{time.process_time() - began:.0f} CPU s in all")


if __name__ == "__main__":
    main()
