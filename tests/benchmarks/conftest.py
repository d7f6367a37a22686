"""The benchmarks are scripts: their folder is put where their modules find one another."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
