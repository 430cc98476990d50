"""Readers of foreign files, none of which runs code: pickles, TensorFlow's checkpoints, safetensors in one or many."""
