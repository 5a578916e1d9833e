"""Stage 1: what is known of data before any model: moments, quantiles, counts."""
