"""Labels that the sound of a corpus contradicts, found by confident learning on its embeddings."""
