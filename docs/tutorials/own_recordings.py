# %% [markdown]
# # Evaluate on your own recordings
#
# A classifier that was trained on synthetic music is worth what it does on real recordings. This tutorial takes the
# model of [the first tutorial](five_minutes.py) to a folder of audio files. All you need is a folder for each genre:
#
# ```
# music/
#   rock/one.wav  two.mp3 ...
#   pop/three.flac ...
# ```
#
# The page is the file `docs/tutorials/own_recordings.py`, which the tests run.
# %%
from pathlib import Path

import synthmir as sm

MUSIC = Path("music")
CLIPS_PER_GENRE = 8
# %% [markdown]
# If you have no such folder at hand, this makes one: clips that the arranger plays from other prompts than the corpus
# has. They stand for recordings only so that the rest of the page runs.
# %%
if not MUSIC.exists():
    stand_in = {
        "name": "stand-in",
        "prompts": {"per_genre": CLIPS_PER_GENRE, "seed": 99},
        "generator": {"seconds": 5.0},
        "split": {"validation": 0.5},
    }
    sm.build(stand_in, "stand-in-corpus")
    sm.convert("stand-in-corpus", to="audiofolder", out="stand-in-files", split=["validation"])
    Path("stand-in-files/validation").rename(MUSIC)
# %% [markdown]
# ## What the model predicts
#
# Files of any sampling rate, number of channels and length are read. A track is cut into overlapping windows, and the
# probabilities of its windows are averaged.
# %%
files = sorted(MUSIC.rglob("*.flac"))[:3]
for answer in sm.classify("first-model", files):
    print(answer.file, answer.labels)
# %% [markdown]
# ## Scores with intervals
#
# `folder:PATH` takes the name of each file's folder as its genre. Folders whose names are not among the model's labels
# are left out and counted, as are files that cannot be read: the report lists both.
# %%
scores = sm.evaluate("first-model", on=["validation", f"folder:{MUSIC}"], out="own-report", bootstrap=200)
for result in scores.benchmarks:
    accuracy = result.accuracy
    print(f"{result.name}: {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}], n = {result.n}")
# %% [markdown]
# ## Which of two models is better?
#
# `against` evaluates other models on the same tracks and tests the differences with paired permutation tests.
# %%
sm.train("first-corpus", "linear-model", head="linear")
scores = sm.evaluate(
    "first-model", on=f"folder:{MUSIC}", against=["linear-model"], out="comparison-report", bootstrap=200
)
for comparison in scores.comparisons:
    print(comparison.metric, f"{comparison.difference.value:+.3f}", f"p = {comparison.p_holm:.2f}")
# %% [markdown]
# ## What breaks it?
#
# The same tracks through a codec and with noise. `drops` are differences from the clean tracks.
# %%
robustness = sm.robustness("first-model", f"folder:{MUSIC}", damage=["mp3:64", "noise:10"], bootstrap=200)
for level in robustness.levels:
    print(level.kind, level.level)
