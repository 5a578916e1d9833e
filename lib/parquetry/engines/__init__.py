"""The engines, one a file, with the same order of methods in each. None knows an algorithm."""
