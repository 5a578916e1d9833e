"""Stage 3: making features: scale, impute, encode."""
