"""The players of version 2: how they perform a score, and the sound fonts that they play."""
