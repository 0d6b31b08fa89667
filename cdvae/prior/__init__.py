"""The learned densities that new crystals are drawn from."""
