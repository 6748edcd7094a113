"""The generator `musicgen`: transformers' checkpoints, decoded by synthmir's engine."""
