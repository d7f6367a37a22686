"""Quantisation and entropy models of modulations."""
