"""Grids and arguments that the tests of drawings and of acts share."""

import numpy as np


def cells(*rows):
    """One grid from rows of digits."""
    return np.array([[int(cell) for cell in row] for row in rows], np.int64)


def always():
    return True


def every_fact(n, names, rng):
    return None


def drawn(height, width, colours, seed):
    return np.random.default_rng(seed).choice(colours, (height, width)).astype(np.int64)
