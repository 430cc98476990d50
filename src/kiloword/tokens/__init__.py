"""What a token is (space), where it is (layout), when it becomes known (schedule), what is fed to the transformer, and
the texts and pictures that documents are made of (segment)."""

from kiloword.tokens.fed import Fed
from kiloword.tokens.layout import Layout, in_proportion
from kiloword.tokens.ramps import Ramps, grouped, levels_at, ramps
from kiloword.tokens.schedule import Schedule
from kiloword.tokens.segment import Document, Picture, Prompted, Segment, Text
from kiloword.tokens.space import Bits, Categorical, Codes, TokenSpace, Vector

__all__ = [
    "Bits", "Categorical", "Codes", "Document", "Fed", "Layout", "Picture", "Prompted", "Ramps", "Schedule", "Segment",
    "Text", "TokenSpace", "Vector", "grouped", "in_proportion", "levels_at", "ramps",
]  # fmt: skip
