"""Tokens to pixels, by the tokenizer's own network or by diffusion."""
