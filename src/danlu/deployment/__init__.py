"""What turns a bundle into a deployment: an image's files, manifests, an edge folder. Writes files, sends nothing."""
