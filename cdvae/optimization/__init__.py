"""Parts of the search for crystals with a better property."""
