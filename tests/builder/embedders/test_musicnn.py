from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.embedders import musicnn_weights
from builder.embedders.base import load_embedder
from builder.embedders.embedder import Embedder
from builder.embedders.musicnn import MUSICNN_MODELS, MUSICNN_WINDOW
from builder.embedders.musicnn_network import TemporalFilters, TimbralFilters
from builder.embedders.tf_checkpoint import read_checkpoint
from builder.embedders.windows import embed_clips
from builder.errors import BackendError, RecipeError
from builder.settings import EmbedderSettings

from . import musicnn_golden, tf_writer

ROOT = Path(__file__).parents[3]


def musicnn(**more):
    return load_embedder(EmbedderSettings(**{"name": "musicnn", "device": "cpu", **more}))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder like the package's, with random weights for one model of each kind."""
    folder = tmp_path_factory.mktemp("package")
    for arch in ("MSD_musicnn", "MTT_vgg"):
        tf_writer.save(folder / "musicnn" / arch, tf_writer.random_musicnn(arch))
    return folder


@pytest.fixture(scope="module")
def wheel(package, tmp_path_factory):
    file = tmp_path_factory.mktemp("wheel") / musicnn_weights.MUSICNN_WHEEL
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in (tf_writer.INDEX, tf_writer.DATA):
            archive.write(package / "musicnn" / "MSD_musicnn" / name, f"musicnn/MSD_musicnn/{name}")
    return file


@pytest.fixture(scope="module")
def embedder(package):
    return musicnn(weights=str(package))


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """No package, an empty cache and no installer."""
    monkeypatch.setattr(musicnn_weights, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def signal():
    return musicnn_golden.make_signal()


# The package itself -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    """What the package computes from the signal; see musicnn_golden.py."""
    return json.loads(musicnn_golden.FILE.read_text(encoding="utf-8"))


def agrees(values, expected):
    """Within 1e-4 of the layer's largest magnitude: rounding to float16 makes the spectra differ by a few ulp."""
    values = np.asarray(values)
    assert list(values.shape) == expected["shape"]
    scale = max(1.0, np.abs(expected["values"]).max())
    np.testing.assert_allclose(values.ravel()[:: expected["step"]], expected["values"], rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(values.mean(dtype=np.float64), expected["mean"], rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(values.std(dtype=np.float64), expected["std"], rtol=0, atol=1e-5 * scale)


def test_log_mel_spectrogram_agrees_with_the_package(embedder, signal, golden):
    agrees(embedder._mel(torch.from_numpy(signal)), golden["log_mel"])


@pytest.mark.musicnn
@pytest.mark.parametrize("arch", MUSICNN_MODELS)
def test_every_layer_agrees_with_the_package(arch, signal, golden):
    embedder = musicnn(arch=arch)
    mel = embedder._mel(torch.from_numpy(signal))
    with torch.inference_mode():
        windows = [embedder._network(mel[first : first + 187]) for first in (0, 187)]
    for name, expected in golden["layers"][arch].items():
        layers = [window["logits"].sigmoid() if name == "taggram" else window[name] for window in windows]
        agrees(torch.stack([x.permute(1, 2, 0) if name.startswith("pool") else x for x in layers]), expected)
    first = np.ascontiguousarray(signal[None, :MUSICNN_WINDOW])
    np.testing.assert_array_equal(embedder.embed(first)[0], windows[0][embedder._network.embedding])
    np.testing.assert_allclose(embedder.tags(first)[0], windows[0]["logits"].sigmoid(), rtol=1e-5)
    assert list(embedder.tag_names) == golden["tags"][arch]


@pytest.mark.musicnn
def test_revisions_of_the_released_weights():
    revisions = [musicnn(arch=arch).revision for arch in MUSICNN_MODELS]
    assert revisions == [
        "ffb40cd66093fac1-MSD_musicnn", "5a310d763b7d8baf-MTT_musicnn",
        "4451d1faa9d27cb5-MSD_vgg", "4eb436a338b38d6d-MTT_vgg",
    ]  # fmt: skip


# Faster layers ------------------------------------------------------------------------------------------------------


def test_timbral_filters_agree_with_a_convolution():
    draw = torch.Generator().manual_seed(0)
    kernels = [torch.randn(5, 7, bands, generator=draw) for bands in (38, 67, 96)]
    mel = torch.randn(50, 96, generator=draw)
    padded = torch.nn.functional.pad(mel, (0, 0, 3, 3))[None, None]
    expected = [torch.nn.functional.conv2d(padded, kernel[:, None])[0].amax(dim=2).T for kernel in kernels]
    expected = torch.cat(expected, dim=1)
    atol = 5e-6 * float(expected.abs().max())
    torch.testing.assert_close(TimbralFilters(kernels)(mel), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("size", "frames"), [(5, 50), (32, 48), (64, 51)])
def test_temporal_filters_agree_with_a_convolution(size, frames):
    draw = torch.Generator().manual_seed(0)
    kernel, mel = torch.randn(7, size, generator=draw), torch.randn(frames, 40, generator=draw)
    padded = torch.nn.functional.pad(mel, (0, 0, (size - 1) // 2, size // 2))[None, None]
    expected = torch.nn.functional.conv2d(padded, kernel[:, None, :, None])[0].amax(dim=2).T
    torch.testing.assert_close(TemporalFilters(kernel)(mel), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("arch", ["MSD_musicnn", "MTT_vgg"])
def test_bfloat16_is_close(package, signal, arch):
    audio = signal[None, :MUSICNN_WINDOW]
    one, other = (musicnn(weights=str(package), arch=arch, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert other.revision == f"{one.revision}-bfloat16"
    exact, close = one.embed(audio)[0], other.embed(audio)[0]
    assert not np.array_equal(exact, close)
    assert exact @ close > 0.999 * np.linalg.norm(exact) * np.linalg.norm(close)


@pytest.mark.parametrize("arch", ["MSD_musicnn", "MTT_vgg"])
def test_vector_is_the_same_bit_for_bit_in_any_batch(package, signal, arch):
    embedder = musicnn(weights=str(package), arch=arch)
    audio = np.stack([signal[first : first + MUSICNN_WINDOW] for first in (0, 9_000, 21_000)])
    together = embedder.embed(audio)
    for row in range(3):
        np.testing.assert_array_equal(embedder.embed(audio[row : row + 1])[0], together[row])


# Audio --------------------------------------------------------------------------------------------------------------


def test_shorter_audio_is_repeated(embedder, signal):
    short = signal[None, :20_000]
    whole = np.tile(short, (1, 3))[:, :MUSICNN_WINDOW]
    np.testing.assert_array_equal(embedder.embed(short), embedder.embed(whole))
    assert np.isfinite(embedder.embed(signal[None, :1])).all()


def test_silence_and_audio_without_samples_have_a_finite_embedding(embedder):
    silence = embedder.embed(np.zeros((1, MUSICNN_WINDOW), np.float32))
    assert np.isfinite(silence).all() and np.isfinite(embedder.tags(np.zeros((1, 100), np.float32))).all()
    np.testing.assert_array_equal(embedder.embed(np.zeros((1, 0), np.float32)), silence)


def test_tags_of_a_clip_follow_from_the_mean_of_its_windows_logits(embedder, package, signal):
    windows = signal[: 2 * MUSICNN_WINDOW].reshape(2, MUSICNN_WINDOW)
    logits = torch.stack([embedder.layers(torch.from_numpy(window))["logits"] for window in windows])
    with Embedder("musicnn", weights=str(package), device="cpu", tags=True) as embed:
        clip = {"array": windows.ravel(), "sampling_rate": 16_000}
        columns = embed({"audio": [clip]})
        np.testing.assert_allclose(columns["tags"][0], logits.mean(dim=0).sigmoid(), rtol=1e-3)
        np.testing.assert_array_equal(columns["tags"], embed.predict_tags(columns["embedding"]))
        assert embed.tag_names[:2] == ("rock", "pop") and columns["tags"].shape == (1, 50)
        assert Embedder("musicnn", weights=str(package), device="cpu")({"audio": [clip]}).keys() == {"embedding"}
    with pytest.raises(RecipeError, match="predicts no tags"):
        Embedder("melstats", tags=True)
    with pytest.raises(RecipeError, match="predicts no tags"):
        Embedder("melstats").predict_tags(np.zeros((1, 768), np.float32))


def test_longer_audio_is_averaged_over_windows(embedder, signal):
    windows = np.stack(
        [signal[:MUSICNN_WINDOW], signal[MUSICNN_WINDOW : 2 * MUSICNN_WINDOW], signal[-MUSICNN_WINDOW:]]
    )
    expected = embedder.embed(windows).mean(axis=0)
    np.testing.assert_allclose(embed_clips(embedder, [signal])[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("arch", "dim"), [("MSD_musicnn", 200), ("MTT_vgg", 256)])
def test_embedding_and_tags(package, signal, arch, dim):
    embedder = musicnn(weights=str(package), arch=arch)
    audio = np.stack([signal[:MUSICNN_WINDOW], signal[-MUSICNN_WINDOW:]])
    assert embedder.dim == dim and embedder.embed(audio).shape == (2, dim)
    tags = embedder.tags(audio)
    assert tags.shape == (2, 50) and tags.dtype == np.float32 and len(set(embedder.tag_names)) == 50
    assert (tags > 0).all() and (tags < 1).all() and np.abs(tags[0] - tags[1]).max() > 1e-3


# Weights ------------------------------------------------------------------------------------------------------------


def test_wheel_package_and_checkpoint_folder_give_the_same(package, wheel, embedder, signal, monkeypatch):
    audio = signal[None, :MUSICNN_WINDOW]
    folder = package / "musicnn" / "MSD_musicnn"
    monkeypatch.syspath_prepend(str(package))
    (package / "musicnn" / "__init__.py").write_text("raise ImportError('the package was imported')")
    for weights in (str(wheel), str(folder), str(folder.parent), None):
        other = musicnn(weights=weights)
        np.testing.assert_array_equal(other.embed(audio), embedder.embed(audio))
        content = (folder / tf_writer.INDEX).read_bytes() + (folder / tf_writer.DATA).read_bytes()
        assert other.revision == f"{hashlib.sha256(content).hexdigest()[:16]}-MSD_musicnn"


@pytest.fixture
def installer(nothing_installed, monkeypatch, wheel, tmp_path):
    """A command in place of pip, which copies the wheel into the folder that it is given. Returns its log."""
    log, script = tmp_path / "log", tmp_path / "installer.py"
    script.write_text(
        f"import shutil, sys\nopen({str(log)!r}, 'a').write('x')\n"
        f"shutil.copy({str(wheel)!r}, sys.argv[sys.argv.index('--dest') + 1])\n"
    )
    monkeypatch.setattr(musicnn_weights, "_find_installer", lambda: [sys.executable, "-IS", str(script)])
    monkeypatch.setattr(musicnn_weights, "MUSICNN_WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    return log


def test_missing_package_is_downloaded_once_by_the_installer(nothing_installed, installer, embedder):
    assert musicnn().revision == embedder.revision == musicnn().revision
    assert installer.read_text() == "x"
    kept = {file.name for file in nothing_installed.iterdir()} - {"musicnn-0.1.0-py3-none-any.lock"}
    assert kept == {musicnn_weights.MUSICNN_WHEEL}


def test_two_at_once_download_once(installer):
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: musicnn_weights.download_wheel(), range(2))
    assert one == other and installer.read_text() == "x"


def test_what_a_killed_download_left_is_deleted_and_a_damaged_wheel_replaced(nothing_installed, installer, wheel):
    left = nothing_installed / f"{wheel.stem}-abc.partial"
    left.mkdir(parents=True)
    for folder in (left, nothing_installed):
        (folder / wheel.name).write_bytes(wheel.read_bytes()[:1000])
    assert musicnn_weights.download_wheel().read_bytes() == wheel.read_bytes()
    assert not left.exists() and installer.read_text() == "x"


def test_wheel_with_another_hash_is_not_kept(nothing_installed, installer, monkeypatch):
    monkeypatch.setattr(musicnn_weights, "MUSICNN_WHEEL_SHA256", "f38a4890")
    with pytest.raises(BackendError, match=r"its SHA-256 is .* instead of f38a4890"):
        musicnn()
    assert not [file for file in nothing_installed.iterdir() if file.suffix != ".lock"]


@pytest.mark.long
@pytest.mark.skipif(not (find_spec("pip") or find_spec("ensurepip")), reason="this Python has no pip")
def test_pip_downloads_from_a_folder_of_wheels(nothing_installed, monkeypatch, tmp_path):
    """pip itself, without a network: a wheel of that name and version, whose hash is another."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / musicnn_weights.MUSICNN_WHEEL, "w") as archive:
        info = "musicnn-0.1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: musicnn\nVersion: 0.1.0\nRequires-Dist: none\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(wheels), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    digest = hashlib.sha256((wheels / musicnn_weights.MUSICNN_WHEEL).read_bytes()).hexdigest()
    monkeypatch.setattr(musicnn_weights, "MUSICNN_WHEEL_SHA256", digest)
    monkeypatch.setattr(musicnn_weights, "find_spec", find_spec)
    assert musicnn_weights.download_wheel().is_file()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit('no route to host')", "no route to host"),
        ("raise SystemExit('connection broken by ...\\nno such package')", "the package index cannot be reached"),
        ("", "python.* ended with 0"),
    ],
)
def test_error_without_weights_names_the_command(nothing_installed, monkeypatch, script, reason):
    monkeypatch.setattr(musicnn_weights, "_find_installer", lambda: [sys.executable, "-IS", "-c", script])
    with pytest.raises(BackendError, match=f"not installed and could not be downloaded: .*{reason}") as caught:
        musicnn()
    assert (caught.value.fix or "").startswith("pip install --no-deps musicnn==0.1.0")


def test_error_without_an_installer(nothing_installed, monkeypatch):
    with pytest.raises(BackendError, match="neither pip nor uv is here"):
        musicnn()
    monkeypatch.setattr(musicnn_weights, "_find_installer", lambda: ["/no/such/installer"])
    with pytest.raises(BackendError, match="No such file"):
        musicnn()


@pytest.mark.parametrize(
    ("package", "start"),
    [
        ("pip", [sys.executable, "-m", "pip", "download"]),
        ("ensurepip", [sys.executable, "/lib/ensurepip/_bundled/pip-1.whl/pip", "download"]),
        (None, ["/bin/uv", "tool", "run", "pip", "download"]),
    ],
)
def test_installer_downloads_no_dependencies_and_builds_nothing(monkeypatch, package, start):
    spec = ModuleSpec("ensurepip", None, origin="/lib/ensurepip/__init__.py")
    monkeypatch.setattr(musicnn_weights, "find_spec", lambda name: spec if name == package else None)
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [folder / pattern.replace("*", "1")])
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    command = musicnn_weights._find_installer()
    assert command[: len(start)] == start and {"--no-deps", "--only-binary"} <= set(command)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"weights": "/no/such/wheel"}, BackendError, "no file and no folder"),
        ({"weights": __file__}, BackendError, "not the wheel of musicnn==0.1.0"),
        ({"weights": str(ROOT / "builder")}, BackendError, r"holds no \.index and \.data-00000-of-00001"),
        ({"arch": "MSD_musicn"}, RecipeError, "did you mean 'MSD_musicnn'"),
        ({"arch": "MSD_musicnn_big"}, RecipeError, "musicnn has no model"),
        ({"layer": 3}, RecipeError, "musicnn does not use it"),
    ],
)
def test_invalid_settings_are_refused(more, error, message):
    with pytest.raises(error, match=message):
        musicnn(**more)


def test_model_that_the_wheel_lacks_is_refused(wheel):
    with pytest.raises(BackendError, match=r"There is no item named 'musicnn/MTT_vgg/\.index'"):
        musicnn(weights=str(wheel), arch="MTT_vgg")


def test_wheel_with_an_enormous_file_is_refused(tmp_path):
    file = tmp_path / "bomb.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"musicnn/MSD_musicnn/{tf_writer.INDEX}", bytes(2 << 20))
        archive.writestr(f"musicnn/MSD_musicnn/{tf_writer.DATA}", b"")
    with pytest.raises(BackendError, match=r"\.index has more than 1,048,576 bytes"):
        musicnn(weights=str(file))


def test_weights_of_another_model_are_refused(package):
    with pytest.raises(BackendError, match=r"MTT_vgg as MSD_musicnn: these weights do not fit"):
        musicnn(weights=str(package / "musicnn" / "MTT_vgg"))


# TensorFlow's checkpoints -------------------------------------------------------------------------------------------

TENSORS = {
    "layer/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "layer/kernel/Adam": np.zeros((2, 3, 4), np.float32),
    "layer/kernel/Adam_1": np.zeros((2, 3, 4), np.float32),
    "beta1_power": np.float32(0.9).reshape(()),
    "scalar": np.float32(2.5).reshape(()),
    **{f"norm_{i}/gamma": np.full(i + 1, i, np.float32) for i in range(50)},
}
INDEX, DATA = tf_writer.checkpoint(TENSORS)


def test_checkpoint_gives_its_variables_without_the_optimizer():
    tensors = read_checkpoint(INDEX, DATA, "here")
    expected = {name for name in TENSORS if "Adam" not in name and name != "beta1_power"}
    assert set(tensors) == expected
    for name in expected:
        np.testing.assert_array_equal(tensors[name], TENSORS[name])


def with_entry(entry, header=None, **more):
    return tf_writer.table({b"": header or tf_writer.bundle_header(), b"a": entry}, **more)


GOOD = tf_writer.bundle_entry((2,), 0, 8)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"", "no table footer"),
        (b"PK\3\4" * 100, "no table footer"),
        (INDEX[:-1], "no table footer"),
        (INDEX[100:], ""),
        (with_entry(GOOD, compression=1), "compressed"),
        (with_entry(GOOD, header=tf_writer.bundle_header(shards=2)), "several data files"),
        (with_entry(GOOD, header=tf_writer.bundle_header(endianness=1)), "big-endian"),
        (with_entry(tf_writer.bundle_entry((1,), 0, 8, dtype=2)), "a is not one tensor of float32"),
        (with_entry(tf_writer.bundle_entry((2,), 0, 8, shard=1)), "a is not one tensor of float32"),
        (with_entry(GOOD + tf_writer.message(7, b"")), "a is not one tensor of float32"),
        (with_entry(tf_writer.bundle_entry((3,), 0, 8)), r"shape \[3\] and 8 bytes"),
        (with_entry(tf_writer.bundle_entry((0, 1 << 62), 0, 0)), "and 0 bytes"),
        (with_entry(tf_writer.bundle_entry((1 << 60,), 0, 1 << 62)), "outside of its data"),
        (with_entry(tf_writer.bundle_entry((2,), 1 << 62, 8)), "outside of its data"),
        (with_entry(tf_writer.bundle_entry((1,) * 9, 0, 4)), "no shape"),
        (with_entry(tf_writer.number(1, 1) + tf_writer.number(2, 7)), "a number in place of a shape"),
        (with_entry(GOOD[:-2]), "cut off"),
        (with_entry(b"\xff" * 11), "more than ten bytes"),
        (tf_writer.table({b"k" * 2000: GOOD}), "reaches out of its block"),
    ],
)
def test_damaged_and_foreign_checkpoints_are_refused(index, reason):
    with pytest.raises(BackendError, match=f"here: not a TensorFlow checkpoint.*{reason}") as caught:
        read_checkpoint(index, DATA, "here")
    assert "get the checkpoint again" in (caught.value.fix or "")


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(BackendError, match="layer/kernel has numbers that are not finite"):
        read_checkpoint(INDEX, b"\xff" * len(DATA), "here")


def test_tensors_that_share_their_data_are_refused():
    """Else a small file of many large tensors over the same bytes fills the memory."""
    entries = {b"%d" % i: tf_writer.bundle_entry((len(DATA) // 4,), 0, len(DATA)) for i in range(3)}
    with pytest.raises(BackendError, match="outside of its data"):
        read_checkpoint(tf_writer.table(entries), DATA, "here")


@given(st.integers(0, len(INDEX) - 1), st.binary(min_size=1, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_mutated_index_is_read_or_refused(place, content, cut):
    index = INDEX[:place] + content + (b"" if cut else INDEX[place + len(content) :])
    try:
        tensors = read_checkpoint(index, DATA, "here")
    except BackendError:
        return
    assert sum(4 * tensor.numel() for tensor in tensors.values()) <= len(DATA)
