"""Models of images: timm's and a small residual network, and the weights that they may start from."""
