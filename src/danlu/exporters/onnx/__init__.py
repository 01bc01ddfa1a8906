"""ONNX files: the network or the trees, with the preparation of tables before and the answers behind.

`graph` collects nodes, `preparation`, `trees` and `network` each write a part, `whole` puts them together.
"""
