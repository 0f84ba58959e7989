"""Operations: each file holds one index rule, and what follows from it. `linalg_cnn` lists what is public."""
