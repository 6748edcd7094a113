"""Embedders, one a module (melstats, passt, huggingface), and what embeds corpora, data sets and arrays with them."""
