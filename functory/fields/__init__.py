"""Coordinates and the networks that are evaluated at them."""
