"""Space groups: operations, Wyckoff positions, the cells they allow. numpy and spglib only.

Fractional coordinates are columns here: an operation takes x to R x + t. Translations and grid
points are whole numbers of 24ths, so that equality is exact.
"""
