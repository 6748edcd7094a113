"""Recipe -> corpus: plan, clips, resume, growth."""
