"""Agreement of a corpus: whether its sound is what the prompts asked for, by estimates and by exact annotations."""
