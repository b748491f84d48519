"""Training data: crops and mixtures, synthesis from single photographs, built-in samples, published data sets."""
