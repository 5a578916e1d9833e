"""The steps of cleaning, one technique a file; :func:`parquetry.clean` runs recipes of them."""
