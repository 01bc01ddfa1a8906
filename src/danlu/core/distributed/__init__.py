"""Processes that train together: their environment, collectives, heartbeats and shards, without importing torch."""
