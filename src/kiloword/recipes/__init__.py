"""One function per trainable model, and the way to carry it out."""

from kiloword.recipes.names import DECODERS, FAMILIES, SORTS, TOKENIZERS, load, names
from kiloword.recipes.start import run

__all__ = ["DECODERS", "FAMILIES", "SORTS", "TOKENIZERS", "load", "names", "run"]
