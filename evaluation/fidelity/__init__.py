"""How far a corpus is from real music: distances, coverage, diversity, duplicates, adherence, and one page on them."""
