"""Rows -> a corpus folder that `datasets.load_dataset` opens with nothing of synthmir installed."""
