"""How far a corpus is from real music: distances, coverage, diversity, near-duplicates, prompt adherence."""
