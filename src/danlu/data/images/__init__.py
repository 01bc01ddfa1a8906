"""Images: files or encoded bytes -> uint8 pixels of one size, decoded once and cached.

In: paths or bytes. Out: `{"image": [batch, channels, side, side] uint8}` as one tensor, from a memory-mapped cache, or
decoded as batches need it. Random transforms live in `augment`; this package only calls them.
"""
