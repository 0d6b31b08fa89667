"""The learned densities of compositions and latents, from which new crystals are drawn."""
