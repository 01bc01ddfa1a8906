"""Tasks: everything that what is predicted decides, one file a task."""
