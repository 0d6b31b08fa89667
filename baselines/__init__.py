"""Other generative models of crystals, re-implemented to be measured beside ours."""
