"""What a token is (space), where it sits (layout), when it becomes known (schedule), what its row is made of."""

from kiloword.tokens.fed import Fed
from kiloword.tokens.layout import Layout, in_proportion
from kiloword.tokens.ramps import Ramps, grouped, levels_at, ramps
from kiloword.tokens.schedule import Schedule
from kiloword.tokens.space import Bits, Categorical, Codes, TokenSpace, Vector

__all__ = [
    "Bits", "Categorical", "Codes", "Fed", "Layout", "Ramps", "Schedule", "TokenSpace", "Vector", "grouped",
    "in_proportion", "levels_at", "ramps",
]  # fmt: skip
