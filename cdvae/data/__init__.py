"""Crystals from files: parsing, cell reduction, tensor cache, CIF output."""
