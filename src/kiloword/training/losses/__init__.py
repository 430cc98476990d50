"""Losses of reconstructions: pixel error, likelihood, perceptual features, a discriminator."""
