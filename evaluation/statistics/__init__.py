"""Metrics, intervals, calibration and comparisons."""
