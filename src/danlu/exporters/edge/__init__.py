"""The form for edge devices: files of plain numpy, with what they need to know beside them."""
