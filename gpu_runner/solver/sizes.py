"""Output size by rule: same as the input, constant, or an integer ratio of it (up or down).

The rule must hold in every demonstration; on ARC-AGI-1's evaluation tasks such a rule gives the right size
of nearly nine test outputs in ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .canvas import MAX_SIDE

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SizeRule:
    """kind: same, constant, ratio or unknown; `height` and `width` are the constant, or the two ratios."""

    kind: str
    height: Fraction = Fraction(1)
    width: Fraction = Fraction(1)

    @property
    def known(self) -> bool:
        return self.kind != "unknown"

    def size(self, height: int, width: int) -> Size | None:
        """The output's size for an input of this size, or None where the rule gives none."""
        if self.kind == "unknown":
            return None
        factor = (1, 1) if self.kind == "constant" else (height, width)
        out = (self.height * factor[0], self.width * factor[1])
        if any(side.denominator != 1 or not 1 <= side <= MAX_SIDE for side in out):
            return None
        return int(out[0]), int(out[1])

    def to_text(self) -> str:
        return f"{self.kind} {self.height} {self.width}"

    @classmethod
    def from_text(cls, text: str) -> SizeRule:
        kind, height, width = text.split()
        return cls(kind, Fraction(height), Fraction(width))


def size_rule(pairs: Sequence[tuple[Size, Size]]) -> SizeRule:
    """The first rule that holds in all (input size, output size) pairs. One pair cannot show a ratio's
    constancy, so same comes first, then constant when the inputs differ, then ratio, then constant."""
    ratios = {(Fraction(o[0], i[0]), Fraction(o[1], i[1])) for i, o in pairs}
    outputs = {o for _, o in pairs}
    inputs = {i for i, _ in pairs}
    if ratios == {(Fraction(1), Fraction(1))}:
        return SizeRule("same")
    if len(outputs) == 1 and len(inputs) > 1:
        height, width = outputs.pop()
        return SizeRule("constant", Fraction(height), Fraction(width))
    if len(ratios) == 1 and all(_whole(r) for r in next(iter(ratios))):
        height_ratio, width_ratio = ratios.pop()
        return SizeRule("ratio", height_ratio, width_ratio)
    if len(outputs) == 1:
        height, width = outputs.pop()
        return SizeRule("constant", Fraction(height), Fraction(width))
    return SizeRule("unknown")


def _whole(ratio: Fraction) -> bool:
    return ratio.denominator == 1 or ratio.numerator == 1
