"""A small hypothesis: the output is the input after a local rule has spread over it.

A recurrent convolution (a neural cellular automaton) on grids whose size does not change: each cell keeps a few
hidden numbers, looks at its eight neighbours, and is asked for its colour at the end. Filling enclosed rooms,
drawing lines until they hit something, falling: the same small rule applied many times. The rule is trained on
all eight dihedral images of the demonstrations and under shuffles of the colours that no output brings in, so
that a handful of cells cannot be learned by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .canvas import COLOURS, Grid

HIDDEN = 24
INSIDE = COLOURS
MAX_SIDE = 20


class Spreader(nn.Module):
    """Colour planes and a plane that is 1 inside the grid; state of HIDDEN numbers a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(COLOURS + 1, HIDDEN, 3, padding=1)
        self.look = nn.Conv2d(HIDDEN + COLOURS + 1, 2 * HIDDEN, 3, padding=1)
        self.write = nn.Conv2d(2 * HIDDEN, HIDDEN, 1)
        self.tell = nn.Conv2d(HIDDEN + COLOURS + 1, COLOURS, 1)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.tell.weight)

    def forward(self, planes: Tensor, rounds: int) -> Tensor:
        """Logits [B, COLOURS, height, width] of planes [B, COLOURS + 1, height, width]."""
        inside = planes[:, INSIDE:]
        state = torch.relu(self.read(planes)) * inside
        for _ in range(rounds):
            state = (state + self.write(torch.relu(self.look(torch.cat([state, planes], 1))))) * inside
        told: Tensor = self.tell(torch.cat([state, planes], 1)) + 4.0 * planes[:, :COLOURS]
        return told
