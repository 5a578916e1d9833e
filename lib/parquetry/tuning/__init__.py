"""Stage 3: searches over parameters and cross-validation, whatever fits the candidates."""
