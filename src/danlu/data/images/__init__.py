"""Images: files or encoded bytes -> uint8 pixels of one size, decoded once and kept.

In: paths or bytes. Out: `{"image": [batch, channels, side, side] uint8}` as one tensor, from a memory-mapped store, or
decoded as batches ask for it. What changes images at random lives in `augment`; this package only calls it.
"""
