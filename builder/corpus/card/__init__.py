"""The dataset card: metadata, statistics, plots, limitations."""
