"""Data sets as functions: sources, fields, meta-learning, models and coding."""
