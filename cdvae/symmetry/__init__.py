"""Space groups: operations, Wyckoff positions and cells. It needs numpy and spglib only.

Fractional coordinates are columns here: an operation maps x to R x + t. Translations and grid
points are integers in units of 1/24, so that equality is exact.
"""
