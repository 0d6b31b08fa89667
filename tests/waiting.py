"""How long tests wait before they call a process hung."""

HANG_SECONDS = 300
