"""Read files, folders and built-in sets into one frame; bring labels, tags and conversations into one form."""
