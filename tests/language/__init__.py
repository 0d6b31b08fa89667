"""Tests of the checker of plain English."""
