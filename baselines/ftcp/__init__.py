"""FTCP: a variational autoencoder on a matrix form of crystals (Ren et al., Matter 5, 314, 2022).

This is a reimplementation from the published description. A crystal is a matrix of one-hot
elements, cell, sites, element properties and "Fourier-transformed crystal properties"; a
one-dimensional convolutional autoencoder compresses it, with a branch that predicts properties from
the latent.
"""
