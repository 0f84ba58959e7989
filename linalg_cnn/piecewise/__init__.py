"""Operations that are affine on each of finitely many pieces: activations, max pooling, maxima."""
