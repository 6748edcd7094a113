"""What the engine computes with: attention, products, and small C kernels."""
