"""Waits of tests that only bound a hang."""

HANG_SECONDS = 300.0
