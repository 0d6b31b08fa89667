"""Other generative models of crystals, reimplemented for comparison."""
