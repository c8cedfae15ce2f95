"""What demonstrations have in common, and what an answer that breaks it is worth."""

import numpy as np
import pytest

from gpu_runner.solver.rules import trees
from gpu_runner.solver.rules.plausible import BROKEN, DOUBTFUL, MOST_DOUBTFUL, Invariants
from gpu_runner.solver.rules.sights import Sheet


def cells(*rows):
    return np.array([[int(cell) for cell in row] for row in rows], np.int64)


FALLEN = [
    (cells("100", "000", "000"), cells("000", "000", "100")),
    (cells("002", "000", "000"), cells("000", "000", "002")),
    (cells("020", "001", "000"), cells("000", "000", "021")),
]


def test_an_answer_that_keeps_what_all_demonstrations_keep_is_trusted():
    invariants = Invariants(FALLEN)
    assert all(invariants.trust(source, target) == 1.0 for source, target in FALLEN)
    assert invariants.trust(cells("300", "000", "000"), cells("000", "000", "300")) == 1.0


def test_each_relation_that_is_broken_takes_from_the_trust():
    invariants = Invariants(FALLEN)
    source = cells("300", "000", "000")
    assert invariants.trust(source, cells("000", "000", "400")) < BROKEN  # a new colour, the old one lost
    recoloured = [(cells("1100"), cells("2200")), (cells("0110"), cells("0220"))]
    doubted = Invariants(recoloured).trust(cells("1001"), cells("2002"))  # two objects where there was one
    assert DOUBTFUL**MOST_DOUBTFUL <= doubted <= DOUBTFUL


def test_relations_that_differ_between_demonstrations_tell_nothing():
    varied = [(cells("10"), cells("10")), (cells("20"), cells("02")), (cells("11"), cells("23"))]
    assert Invariants(varied).trust(cells("30"), cells("03")) > BROKEN


def test_one_demonstration_has_nothing_in_common_with_others():
    assert Invariants(FALLEN[:1]).trust(cells("10"), cells("22")) == 1.0


def test_what_is_no_grid_is_not_trusted():
    invariants = Invariants(FALLEN)
    for answer in (np.zeros((0, 3), np.int64), cells("10") - 2, cells("90") + 1):
        assert invariants.trust(FALLEN[0][0], answer) == 0.0


def test_outputs_of_another_shape_are_compared_too():
    cut = [(cells("120", "000"), cells("12")), (cells("030", "044"), cells("44"))]
    invariants = Invariants(cut)
    assert invariants.trust(cells("050", "660"), cells("66")) == 1.0
    assert invariants.trust(cells("050", "660"), cells("65")) == DOUBTFUL


def sheet_of(own, filled):
    sheet = Sheet()
    sheet.source("own", cells(own))
    sheet.fact("marked", cells(filled) == 1)
    return sheet


def learned(*rows):
    """A learner of grids of one row: (input, which cells are marked, output)."""
    wanted = [cells(output) for _, _, output in rows]
    sheets = [sheet_of(own, filled) for own, filled, _ in rows]
    flat = np.concatenate([one.ravel() for one in wanted])
    return trees.Learner(trees.Table.of(sheets), flat), wanted


def test_a_tree_that_foretells_each_demonstration_is_proved():
    learner, wanted = learned(("0121", "0001", "0125"), ("2110", "0100", "2510"))
    assert learner.grow() is not None
    assert learner.proof(wanted) == pytest.approx(trees.PROVED)


def test_a_tree_that_needs_every_demonstration_is_not():
    learner, wanted = learned(("0102", "0000", "0103"), ("0101", "0000", "0101"), ("4000", "0000", "5000"))
    assert learner.grow() is not None
    share = trees.UNPROVED * (trees.PROVED / trees.UNPROVED) ** (1 / 3)
    assert learner.proof(wanted) == pytest.approx(share)


def test_a_single_demonstration_proves_nothing_and_disproves_nothing():
    learner, wanted = learned(("0121", "0001", "0125"))
    assert learner.proof(wanted) == 1.0


def test_the_sides_of_a_demonstration_are_left_out_together():
    one, other = ("01", "00", "03"), ("02", "00", "04")
    learner, _ = learned(one, one, other, other)
    assert learner.proof([cells("03"), cells("04")]) == pytest.approx(trees.UNPROVED)
