"""What a token is (space), where it sits (layout) and when it becomes known (schedule): the three shared nouns."""

from kiloword.tokens.layout import Layout
from kiloword.tokens.schedule import Schedule
from kiloword.tokens.space import Bits, Categorical, Codes, TokenSpace, Vector

__all__ = ["Bits", "Categorical", "Codes", "Layout", "Schedule", "TokenSpace", "Vector"]
