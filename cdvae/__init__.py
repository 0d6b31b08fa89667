"""Crystal diffusion variational autoencoder: geometry, model, sampling, training, metrics."""
