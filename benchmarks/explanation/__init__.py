"""Planted truths and games on which explanations are judged; nothing of danlu is imported."""
