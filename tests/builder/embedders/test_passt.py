from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from builder.audio import load_audio, resample
from builder.embedders import passt_network
from builder.embedders.base import load_embedder
from builder.embedders.passt import Passt
from builder.embedders.passt_network import ARCHS, WINDOW, Arch, PasstNetwork
from builder.embedders.windows import embed_clips
from builder.errors import BackendError, RecipeError
from builder.settings import EmbedderSettings

from .embedder_checkpoints import TINY, hear21passt, scene_embeddings, tiny_passt


@pytest.fixture(scope="module")
def package():
    return hear21passt()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_passt(tmp_path_factory.mktemp("weights"))


def settings(file, **more):
    return EmbedderSettings(**{"name": "passt", "weights": str(file), "arch": TINY, "device": "cpu", **more})


@pytest.fixture(scope="module")
def embedder(weights):
    return load_embedder(settings(weights))


def music(seconds, rate=32_000, count=1, seed=0):
    """float32 [count, samples]: a few decaying partials over noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(
        np.sin(2 * np.pi * rng.uniform(60, 5_000, (count, 1)) * time) * np.exp(-((time * rng.uniform(1, 4)) % 1))
        for _ in range(6)
    )
    return (0.08 * tones + 0.01 * rng.standard_normal((count, len(time)))).astype(np.float32)


def cosine(one, two):
    return (np.sum(one * two, 1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)).min()


def same(embedded, expected):
    expected = expected.numpy()
    assert embedded.shape == expected.shape and embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-5, rtol=1e-5)
    assert cosine(embedded, expected) >= 0.99999


def test_ten_seconds_agree_with_hear21passt(embedder, package):
    audio = music(10, count=3)
    same(embedder.embed(audio), scene_embeddings(package, torch.from_numpy(audio)))


@pytest.mark.parametrize("seconds", [0.17, 3, 9.9])
def test_shorter_audio_agrees_with_hear21passt(embedder, package, seconds):
    audio = music(seconds, count=2)
    expected = scene_embeddings(package, torch.from_numpy(audio))
    same(embedder.embed(audio), expected)
    same(embed_clips(embedder, list(audio)), expected)


def test_longer_audio_agrees_with_hear21passt(embedder, package):
    audio = music(16)  # seven windows
    same(embed_clips(embedder, list(audio), batch_size=4), scene_embeddings(package, torch.from_numpy(audio)))


def test_stereo_audio_at_another_rate_agrees_with_hear21passt(embedder, package, tmp_path):
    import soundfile

    stereo = music(10.5, 44_100, count=2)
    soundfile.write(tmp_path / "a.wav", stereo.T, 44_100, subtype="FLOAT")
    clip = load_audio(tmp_path / "a.wav", 32_000)
    np.testing.assert_allclose(clip, resample(stereo.mean(0), 44_100, 32_000), atol=1e-6)
    same(embed_clips(embedder, [clip]), scene_embeddings(package, torch.from_numpy(clip[None])))


def test_bfloat16_is_close_to_float32(weights, package):
    audio = music(10, count=2)
    embedder = load_embedder(settings(weights, dtype="bfloat16"))
    assert cosine(embedder.embed(audio), scene_embeddings(package, torch.from_numpy(audio)).numpy()) >= 0.999
    assert embedder.revision.endswith("-bfloat16")


@pytest.mark.parametrize(("stride", "hop", "frames"), [(16, 320, 998), (10, 160, 2000)])
def test_other_strides_and_spectrograms(stride, hop, frames):
    package = hear21passt(1, stride, frames, hop)
    arch = Arch("none", 1, stride, hop, frames)
    network = PasstNetwork(package.net.state_dict(), arch, torch.float32, torch.device("cpu"))
    audio = torch.from_numpy(music(10))
    same(network(audio).numpy(), scene_embeddings(package, audio))


def test_released_architecture_with_all_twelve_blocks(tmp_path):
    """All twelve blocks, from the package's own constructor and its own kind of file."""
    import contextlib
    import io
    import warnings

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hear21passt.models.passt import get_model
        from hear21passt.wrapper import PasstBasicWrapper

        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = get_model(arch="passt_s_swa_p16_128_ap476", pretrained=False)
    torch.save(net.state_dict(), tmp_path / "passt.pt")
    embedder = Passt(EmbedderSettings(name="passt", weights=str(tmp_path), device="cpu"))
    audio = music(3)
    package = PasstBasicWrapper(mel=hear21passt(1).mel, net=net, mode="embed_only").eval()
    same(embedder.embed(audio), scene_embeddings(package, torch.from_numpy(audio)))


@pytest.mark.parametrize("name", [name for name in ARCHS if name != TINY])
def test_shapes_and_urls_agree_with_hear21passt(name):
    from hear21passt.models.passt import PaSST, default_cfgs

    arch = ARCHS[name]
    assert passt_network.RELEASES + arch.checkpoint in {released["url"] for released in default_cfgs.values()}
    with pytest.MonkeyPatch.context() as patch:
        for init in ("trunc_normal_", "_init_vit_weights"):
            patch.setattr(f"hear21passt.models.passt.{init}", lambda *a, **k: None)
        with torch.device("meta"):
            patch.setattr(torch, "linspace", lambda *a: torch.zeros(a[-1], device="cpu"))
            net = PaSST(img_size=(128, arch.frames), stride=arch.stride, depth=arch.depth, distilled=True)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items() if not key.startswith("head")}
    assert arch.shapes() == expected


def test_embedding_is_bit_identical_in_any_batch(embedder):
    audio = music(10, count=5)
    whole = embedder.embed(audio)
    for row in (0, 3):
        np.testing.assert_array_equal(embedder.embed(audio[row : row + 1])[0], whole[row])


def test_nothing_is_printed_and_no_random_number_drawn(weights, capfd, recwarn):
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    load_embedder(settings(weights)).embed(music(10))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_silence_and_full_scale_are_finite(embedder):
    assert np.isfinite(embedder.embed(np.stack([np.zeros(WINDOW), np.ones(WINDOW)]).astype(np.float32))).all()


def test_all_file_formats_of_the_weights_agree(weights, embedder, tmp_path):
    tensors, audio = load_file(weights), music(10)
    plain = tmp_path / "plain.pt"
    torch.save(tensors, plain)
    wrapped = tmp_path / "wrapped.ckpt"
    state = {f"net.{name}": value for name, value in tensors.items()} | {"device_proxy": torch.zeros(1)}
    torch.save({"state_dict": state, "epoch": 3}, wrapped)
    old = tmp_path / "old.pth"
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    half = tmp_path / "half.safetensors"
    save_file({name: value for name, value in tensors.items() if not name.startswith("head")}, half)
    expected = embedder.embed(audio)
    for file in (plain, wrapped, old, half):
        other = load_embedder(settings(file))
        np.testing.assert_array_equal(other.embed(audio), expected)
        assert other.revision != embedder.revision  # a hash of the file
    folder = tmp_path / "folder"
    folder.mkdir()
    os.link(weights, folder / "model.safetensors")
    os.link(plain, folder / "model.pt")
    assert load_embedder(settings(folder)).revision == embedder.revision


def test_revision_is_the_hash_of_the_file(weights, embedder):
    import hashlib

    assert embedder.revision == f"{hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}-{TINY}"


def test_weights_that_do_not_fit_are_listed(weights, tmp_path):
    tensors = load_file(weights)
    del tensors["blocks.0.mlp.fc2.bias"]
    tensors["blocks.0.norm1.weight"] = torch.zeros(5)
    tensors["spare"] = torch.zeros(1)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(BackendError) as caught:
        load_embedder(settings(tmp_path / "bad.safetensors"))
    assert "1 missing: blocks.0.mlp.fc2.bias" in caught.value.message
    assert "1 unexpected: spare" in caught.value.message
    assert "blocks.0.norm1.weight [5] instead of [768]" in caught.value.message
    with pytest.raises(BackendError, match=r"132 missing: .*\(124 more\)"):
        load_embedder(settings(weights, arch="passt_s_kd_p16_128_ap486"))


class Code:
    ran: list[int] = []

    def __reduce__(self):
        return Code.ran.append, (1,)


@pytest.mark.parametrize("kind", ["zip", "pickle", "module"])
def test_files_with_code_are_refused_and_not_run(tmp_path, kind):
    path = tmp_path / "weights.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"cls_token": Code()}, protocol=2))
    else:
        torch.save({"cls_token": Code()} if kind == "zip" else torch.nn.Linear(2, 2), path)
    with pytest.raises(BackendError, match="holds other objects than tensors; none was loaded"):
        load_embedder(settings(path))
    assert Code.ran == []


@pytest.mark.parametrize(("suffix", "legacy"), [(".pt", False), (".pt", True), (".safetensors", False)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files_are_refused(weights, tmp_path, suffix, legacy, share):
    path = tmp_path / f"weights{suffix}"
    tensors = dict(itertools.islice(load_file(weights).items(), 5))
    if suffix == ".pt":
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    else:
        save_file(tensors, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BackendError, match=r"not a file of weights, or only a part of one|other objects than tensors"):
        load_embedder(settings(path))


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"weights": "/no/such/file.pt"}, BackendError, "no file and no folder"),
        ({"arch": "passt_s_kd_p16_128_ap48"}, RecipeError, "did you mean 'passt_s_kd_p16_128_ap486'"),
        ({"arch": "passt_20sec"}, RecipeError, "no PaSST of ten seconds"),
        ({"layer": 3}, RecipeError, "embedder.layer: passt does not use it"),
        ({"device": "cuda:99"}, BackendError, "'cuda:99' cannot be used"),
    ],
)
def test_invalid_settings_are_refused(weights, more, error, message):
    with pytest.raises(error, match=message):
        load_embedder(settings(weights, **more))


def test_folders_with_no_or_several_files_are_refused(tmp_path):
    with pytest.raises(BackendError, match=r"holds no \.safetensors"):
        load_embedder(settings(tmp_path))
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(BackendError, match=r"holds a\.pt, b\.pt"):
        load_embedder(settings(tmp_path))


def test_error_without_network_names_embedder_weights(monkeypatch, tmp_path):
    def offline(*anything, **more):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(BackendError, match=r"downloaded from https://github.com/kkoutini.*no route") as caught:
        load_embedder(EmbedderSettings(name="passt"))
    assert "embedder.weights" in (caught.value.fix or "")


def test_cached_weights_are_used_without_network(monkeypatch, tmp_path, weights, embedder):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda *a, **k: pytest.fail("the network was asked"))
    monkeypatch.setitem(passt_network.ARCHS, TINY, Arch("v0/passt-s-f128-p16-s10-ap.476-swa.pt", depth=1))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(load_file(weights), cache / "passt-s-f128-p16-s10-ap.476-swa.pt")
    fetched = load_embedder(settings(weights, weights=None))
    audio = music(10)
    np.testing.assert_array_equal(fetched.embed(audio), embedder.embed(audio))


def test_torchaudio_and_hear21passt_are_not_imported(weights):
    """Neither PaSST nor melstats nor resampling imports torchaudio, or the packages that need it."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("torchaudio", "torchvision", "timm", "hear21passt")))
import numpy as np
from builder.audio import resample
from builder.embedders import passt_network
from builder.embedders.base import load_embedder
from builder.settings import EmbedderSettings
passt_network.ARCHS["{TINY}"] = passt_network.Arch("none", depth=1)
audio = resample(np.ones(441, np.float32), 44_100, 32_000)[None]
for settings in (dict(), dict(name="passt", weights={str(weights)!r}, arch="{TINY}", device="cpu")):
    assert np.isfinite(load_embedder(EmbedderSettings(**settings)).embed(audio)).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_corpus_config_has_lists_of_768(recipe, tmp_path, weights):
    import datasets

    from builder.corpus.building.build import build
    from builder.embedders.embed_corpus import embed_corpus

    build(recipe(per_genre=2), tmp_path / "corpus", workers=1)
    embed_corpus(tmp_path / "corpus", settings(weights))
    embedded = datasets.load_dataset(
        str(tmp_path / "corpus"), "passt", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert embedded.features["embedding"] == datasets.List(datasets.Value("float32"), length=768)
    assert np.isfinite(np.asarray(embedded["embedding"])).all() and {"id", "genre", "mood"} <= set(
        embedded.column_names
    )
