"""Canvases drawn by index arithmetic agree with grids moved by hand."""

import pytest
import torch

from gpu_runner.solver.augment import Variant
from gpu_runner.solver.canvas import (
    BACKGROUND,
    BORDER,
    HALVES,
    NEAREST,
    PairStore,
    Placement,
    base_scale,
    draw,
    half_for,
    random_offsets,
    random_scales,
)

INPUT = [[1, 2, 3], [4, 5, 6]]
OUTPUT = [[7, 8], [9, 0], [1, 2]]
SWAPPED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 9)


def drawn(variant: Variant, scale: int = 1, offset: tuple[int, int] = (0, 0), half: int = 8):
    store = PairStore.from_grids([(INPUT, OUTPUT)])
    at = Placement(
        torch.tensor([0]),
        torch.tensor([variant.dihedral]),
        torch.tensor([variant.colours]),
        torch.tensor([scale]),
        torch.tensor([offset]),
        torch.ones(1, 2),
    )
    return draw(store, at, half)


@pytest.mark.parametrize("dihedral", range(8))
@pytest.mark.parametrize("scale", [1, 2])
def test_a_drawn_variant_is_the_grid_moved_by_hand(dihedral, scale):
    variant = Variant(dihedral, SWAPPED)
    batch = drawn(variant, scale, (2, 4))
    for canvas, grid in ((batch.cells[0], INPUT), (batch.target[0], OUTPUT)):
        expected = torch.tensor(variant.apply(grid)).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        height, width = expected.shape
        assert torch.equal(canvas[2 : 2 + height, 4 : 4 + width], expected)


def test_outside_the_grid_there_is_background_and_the_output_alone_has_a_border():
    batch = drawn(Variant())
    assert (batch.cells[0, 2:] == BACKGROUND).all()
    assert not (batch.cells == BORDER).any()
    assert (batch.target[0, 3, :3] == BORDER).all()
    assert (batch.target[0, :4, 2] == BORDER).all()
    assert int((batch.target == BORDER).sum()) == 3 + 4 - 1


def test_each_sample_weighs_the_same_and_its_answer_most():
    batch = drawn(Variant())
    assert float(batch.weight.sum()) == pytest.approx(1.0)
    assert float(batch.weight[0, 0, 0]) == pytest.approx(10 * float(batch.weight[0, 15, 15]))


def test_box_coordinates_count_cells_from_every_edge():
    coords = drawn(Variant(), 2, (2, 4)).coords[0] + NEAREST
    rows, columns = coords[0], coords[1]
    assert rows[0, :5].tolist() == [-1, 0, 1, 2, 3]  # from the input's top
    assert rows[1, :5].tolist() == [2, 1, 0, -1, -2]  # to its bottom
    assert rows[3, :5].tolist() == [3, 2, 1, 0, -1]  # to the output's bottom
    assert columns[1, :5].tolist() == [4 - 0, 3, 2, 1, 0]


def test_a_bucket_holds_the_grid_and_its_border():
    assert [half_for(side) for side in (1, 7, 8, 15, 16, 30)] == [4, 4, 6, 8, 12, 16]
    assert half_for(30, scale=2) == HALVES[-1]
    with pytest.raises(ValueError, match="no canvas"):
        half_for(30, scale=3)


def test_random_placements_always_leave_room_for_the_border():
    generator = torch.Generator().manual_seed(0)
    longest = torch.arange(1, 16).repeat(40)
    scale = random_scales(longest, 8, generator, plain=0.2)
    offset = random_offsets(longest, scale, 8, generator)
    assert ((offset + (longest * scale)[:, None]) <= 15).all()
    assert set(scale[longest == 5].tolist()) == {1, 2, 3}
    assert (random_offsets(longest, scale, 8, generator, align=2) % 2 == 0).all()


def test_a_patch_is_one_cell_where_the_grid_is_small():
    assert (base_scale(3), base_scale(7), base_scale(8)) == (2, 2, 1)
