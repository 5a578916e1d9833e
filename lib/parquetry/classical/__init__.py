"""Stage 2: classical machine learning, one technique a file."""
