"""The Open Inference Protocol, version 2, over REST: bodies in, rows; answers, bodies out. Knows no sockets."""
