"""Files that an edge folder gets as they are."""
