"""Real music to be judged on."""
