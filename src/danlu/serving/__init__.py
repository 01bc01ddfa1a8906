"""Answer requests from bundles: what a server needs, and what replays its log."""
