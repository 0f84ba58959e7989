"""A network as one affine map: traced, composed, compared with the network, and reported on."""
