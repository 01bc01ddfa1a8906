"""What speaks HTTP: the protocol of the predict routes, and the application of all others."""
