"""What the arranger plays in a clip, at the times of its sound."""
