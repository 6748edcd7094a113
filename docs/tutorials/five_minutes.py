# %% [markdown]
# # A corpus in five minutes
#
# This tutorial makes a small corpus of labelled music, embeds it, trains a genre classifier and scores it. It needs no
# download and no GPU: the music comes from `arranger`, which composes by rules, and the embeddings from `melstats`,
# statistics of a spectrogram. Larger corpora are made in the same steps with MusicGen and PaSST.
#
# The page is the file `docs/tutorials/five_minutes.py`, which the tests run.
# %%
import synthmir as sm

CLIPS_PER_GENRE = 20
SECONDS = 5.0
# %% [markdown]
# ## A recipe
#
# A recipe says everything that decides what comes out. It is a YAML file, or a dictionary with the same
# [keys](../../recipes/recipe.schema.json). What it does not name has a default.
# %%
recipe = {
    "name": "first",
    "taxonomy": "paper",  # electronica, funk, orchestral, pop, rock
    "prompts": {"per_genre": CLIPS_PER_GENRE, "seed": 1},
    "generator": {"name": "arranger", "seconds": SECONDS},
    "split": {"validation": 0.2},
    "embedder": {"name": "melstats"},
}
# %% [markdown]
# The prompts follow from the recipe and its seed. Labels say only what the text asks for.
# %%
for prompt in sm.prompts(recipe, limit=3):
    print(prompt.genre, prompt.mood, prompt.tempo_bpm, "-", prompt.text)
# %% [markdown]
# ## Build
#
# `build` makes the clips, checks each (silence, clipping, length, ...), and writes FLAC in Parquet files. If it is
# stopped, the same call resumes. A clip depends on its row and its seed, not on the number of processes.
# %%
corpus = sm.build(recipe, "first-corpus")
print(corpus.record()["rows"], "clips")
# %% [markdown]
# The folder is a Hugging Face dataset: `datasets.load_dataset("first-corpus")` opens it without synthmir.
# `load_corpus` decodes the audio without FFmpeg.
# %%
rows = sm.load_corpus("first-corpus", split="train")
clip = rows[0]
print(clip["id"], clip["prompt"])
print(clip["audio"]["array"].shape, clip["audio"]["sampling_rate"], "Hz")
# %% [markdown]
# ## Embed and train
#
# Embeddings become a second config of the corpus, joined by `id`. The classifier is the 2023 paper's: one hidden layer
# of 128 units on the embeddings, stopped when the validation loss no longer falls.
# %%
sm.embed("first-corpus", "melstats")
X, y = sm.load_tensors("first-corpus", "melstats", split="train", task="genre")
print(X.shape, y.shape)

model = sm.train("first-corpus", "first-model")
print(model.config.labels)
# %% [markdown]
# ## Evaluate
#
# Every score has its number of tracks and a 95 % interval. With so few clips the interval is wide.
# `first-report/report.html` shows the scores, the confusion matrix, a map of the embeddings and clips to play.
#
# These are scores on clips of the same generator. They say nothing about real recordings; the
# [next tutorial](own_recordings.py) measures that.
# %%
scores = sm.evaluate("first-model", on="validation", out="first-report")
result = scores.benchmarks[0]
print(f"accuracy {result.accuracy.value:.3f} [{result.accuracy.low:.3f}, {result.accuracy.high:.3f}], n = {result.n}")
