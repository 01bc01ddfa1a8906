"""Where the tables of components are. Filled by `danlu.registry`, which stands above the layers and knows their names.

Imports nothing, since `import danlu` fills it.
"""

TABLES: dict[str, str] = {}  # kind -> `module:TABLE`, imported when a recipe's schema first needs the kind
