"""The dataset card: metadata, statistics, plots, fidelity, limitations."""
