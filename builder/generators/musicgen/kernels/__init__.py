"""The engine's operations: attention, matrix products and small C kernels."""
