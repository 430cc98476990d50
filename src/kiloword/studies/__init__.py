"""Questions that need training and evaluation together: the study of tokenizers."""
