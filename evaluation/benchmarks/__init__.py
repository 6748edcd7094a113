"""Benchmarks: labelled recordings to evaluate models on."""
