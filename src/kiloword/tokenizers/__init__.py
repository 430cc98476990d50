"""Pixels to tokens and back: the laws, quantizers, networks and wrappers, none of which knows another."""
