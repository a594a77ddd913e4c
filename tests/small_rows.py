"""Rows of three classes, of which some have labels, for the classifiers of scikit-learn."""

import numpy as np

RNG = np.random.default_rng(0)
CENTRES = RNG.random((3, 9))
TRUTH = np.arange(60) % 3
UNIT = np.clip(CENTRES[TRUTH] + RNG.normal(0, 0.1, (60, 9)), 0, 1).astype(np.float32)
PARTLY = np.where(np.arange(60) < 24, TRUTH, -1)
TABLE = UNIT * [1, 10, 100, 1, 1, 1, 1, 1, 1] + [0, 50, 0, -3, 0, 0, 0, 0, 0]
