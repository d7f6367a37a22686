"""Models of modulations."""
