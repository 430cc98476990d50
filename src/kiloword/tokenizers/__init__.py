"""Pixels to tokens and back: the laws, quantizers, networks and wrappers, independent of each other."""
