"""One epoch's order of P identities x K pictures: Python lists against whole-array sorting."""

import random
import time

import numpy as np
import numpy.typing as npt

from benchmarks.reference.identity_sampler import IdentitySampler
from benchmarks.report import Case, Report
from benchmarks.timing import interleave

BATCH, PER_IDENTITY = 64, 4
