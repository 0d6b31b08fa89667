"""Search for crystals with better properties, and paths in the latent space."""
