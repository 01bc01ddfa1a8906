"""Models of tables: `options` holds what a recipe may set and imports no torch; each other module is one network."""
