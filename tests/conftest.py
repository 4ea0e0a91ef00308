"""Settings that must stand before torch is imported."""

import os

# Two test processes of two OpenMP threads each spin on two cores and slow each other tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
