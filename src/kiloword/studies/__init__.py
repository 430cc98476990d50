"""Questions that need training and evaluation together: tokenizers, decoders, ways of drawing, and scaling."""
