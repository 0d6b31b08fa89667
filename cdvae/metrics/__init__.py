"""Checks and statistics of crystals: validity, matching, novelty, reports."""
