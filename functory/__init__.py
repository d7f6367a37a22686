"""Data sets as functions: sources, fields, meta-learning, models and coding."""

import os

# Idle OpenMP threads spin by default. Where anything else wants a core, two spinning threads made a
# training step four times slower than one thread; told to sleep, they cost next to nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
