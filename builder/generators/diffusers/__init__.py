"""The generator `diffusers`: audio pipelines of diffusers."""
