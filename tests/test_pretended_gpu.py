"""What runs on GPUs, on one that is not there: devices that differ, waits for the GPU, and shapes within a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from transformers import (
    MusicgenForConditionalGeneration,
    MusicgenMelodyForConditionalGeneration,
)

from builder.embedders.musicnn_network import (
    MUSICNN_SHAPES,
    VGG_SHAPES,
    MusicnnMel,
    MusicnnNetwork,
    MusicnnVggNetwork,
)
from builder.embedders.passt_network import ARCHS, PasstNetwork
from builder.generators.musicgen.codec import Codec
from builder.generators.musicgen.engine import Engine, Run, encode_text
from builder.generators.musicgen.melody import MelodyEngine
from builder.generators.musicgen.sampling import Sampling
from builder.settings import TrainingSettings
from training.models.classifier import MULTI, REGRESSION, SINGLE, SynthmirClassifier, SynthmirConfig
from training.optim.loop import _Scaled, _Step
from training.optim.objectives import Objective

from .builder.generators.musicgen.checkpoints import config
from .pretended_device import CallRecorder, make, move, pretend_device

BATCH, FRAMES, LENGTH = 3, 20, 7
SAMPLINGS = {
    "guided": Sampling(top_k=20),
    "nucleus": Sampling(guidance=1.0, top_p=0.9),
    "greedy": Sampling(greedy=True),
}


@pytest.fixture
def mode() -> Iterator[FakeTensorMode]:
    with pretend_device() as mode:
        yield mode


def assert_suits_gpus(recorder: CallRecorder) -> None:
    """Nothing is on the host, and nothing is in float64, which MPS does not have."""
    assert recorder.devices() == {"cuda"}
    assert torch.float64 not in recorder.types()


def make_engine(mode: FakeTensorMode, melody: bool = False, stereo: bool = False) -> tuple[Engine, object]:
    kind = MusicgenMelodyForConditionalGeneration if melody else MusicgenForConditionalGeneration
    with unset_fake_temporarily(), torch.device("meta"):
        model = kind(config(melody=melody, stereo=stereo)).eval()
    move(model, "cuda", mode)
    return (MelodyEngine if melody else Engine)(model), model


def start_run(engine: Engine, sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The buffers of a batch. A melody model reads its texts on the host, once a batch: that is left out."""
    if isinstance(engine, MelodyEngine):

        def cache_text(run: Run, states: Tensor) -> None:
            run.starts = make("cuda", run.cache.shape[2], dtype=torch.int64)

        monkeypatch.setattr(engine, "_cache_text", cache_text)
    width = engine._tokens.shape[1]
    noise = make("cpu", BATCH, engine.count_steps(FRAMES), engine.codebooks)
    mask = make("cuda", BATCH, LENGTH, dtype=torch.int64)
    return engine._start_run(make("cuda", BATCH, LENGTH, width), mask, FRAMES, noise, sampling)


@pytest.mark.parametrize("melody", [False, True], ids=["text", "melody"])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=list(SAMPLINGS))
def test_every_step_of_a_captured_graph_is_the_same_and_waits_for_nothing(
    sampling: Sampling, melody: bool, mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = make_engine(mode, melody)
    run = start_run(engine, sampling, monkeypatch)
    buffers = [run.codes, run.uniforms, run.position, run.finite, run.cache, run.text]
    steps = []
    with torch.inference_mode():
        for _ in range(3):
            with CallRecorder() as recorder:
                engine._step(run, sampling, length=FRAMES, exact=False)
            assert_suits_gpus(recorder)
            steps.append(recorder.calls)
    assert steps[0] == steps[1] == steps[2]
    now = [run.codes, run.uniforms, run.position, run.finite, run.cache, run.text]
    assert all(one is other for one, other in zip(buffers, now, strict=True))  # a graph writes where it was captured


@pytest.mark.parametrize("stereo", [False, True], ids=["mono", "stereo"])
def test_a_batch_is_decoded_on_the_gpu_from_its_text_to_its_sound(stereo: bool, mode: FakeTensorMode) -> None:
    engine, model = make_engine(mode, stereo=stereo)
    codec = Codec(model.audio_encoder, torch.float16, 2 if stereo else 1)  # type: ignore[attr-defined]
    ids = make("cuda", BATCH, LENGTH, dtype=torch.int64)
    mask = torch.ones_like(ids)
    noise = torch.zeros(BATCH, engine.count_steps(FRAMES), engine.codebooks)
    with torch.inference_mode():
        states = encode_text(model, ids, mask)  # type: ignore[arg-type]
    codes, finite = engine.decode(states, mask, FRAMES, noise, Sampling())
    assert (codes.device.type, finite.device.type, codes.shape[2]) == ("cuda", "cuda", FRAMES)
    sound = codec.decode(codes, fold=not stereo)
    assert sound.device.type == "cpu" and sound.shape[:2] == (BATCH, FRAMES * 640)


def test_the_next_batch_uses_the_buffers_and_the_graphs_of_the_last(mode: FakeTensorMode) -> None:
    engine, _ = make_engine(mode)
    runs, graphs = [], []
    for _ in range(2):
        states = make("cuda", BATCH, LENGTH, engine._tokens.shape[1])
        noise = torch.zeros(BATCH, engine.count_steps(FRAMES), engine.codebooks)
        engine.decode(states, make("cuda", BATCH, LENGTH, dtype=torch.int64), FRAMES, noise, Sampling())
        assert engine._run is not None and engine._graphs is not None
        runs.append(engine._run)
        graphs.append(engine._graphs[1])
    assert runs[0] is runs[1] and graphs[0] is graphs[1]


@pytest.mark.parametrize("arch", ["passt_s_swa_p16_128_ap476", "stfthop160"])
def test_passt_stays_on_the_device(arch: str, mode: FakeTensorMode) -> None:
    weights = {name: make("cpu", *shape) for name, shape in ARCHS[arch].shapes().items()}
    network = PasstNetwork(weights, ARCHS[arch], torch.bfloat16, torch.device("cuda"))
    with CallRecorder() as recorder, torch.inference_mode():
        embeddings = network(make("cuda", 2, 320_000))
    assert_suits_gpus(recorder)
    assert (embeddings.shape, embeddings.dtype) == ((2, 768), torch.float32)


@pytest.mark.parametrize("kind", ["musicnn", "vgg"])
def test_musicnn_stays_on_the_device(kind: str, mode: FakeTensorMode) -> None:
    shapes, network = (MUSICNN_SHAPES, MusicnnNetwork) if kind == "musicnn" else (VGG_SHAPES, MusicnnVggNetwork)
    weights = {name: make("cpu", *shape) for name, shape in shapes.shapes().items()}
    with torch.inference_mode():
        made = network(weights, torch.device("cuda"), torch.float32)
        mel = MusicnnMel(torch.device("cuda"))
        with CallRecorder() as recorder:
            layers = made(mel(make("cuda", 48_000))[:187])
    assert_suits_gpus(recorder)
    assert layers[made.embedding].shape == (made.width,)


@pytest.mark.parametrize("problem", [SINGLE, MULTI, REGRESSION])
def test_a_training_step_stays_on_the_device_and_waits_for_nothing(
    problem: str, mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unset_fake_temporarily(), torch.device("meta"):
        labels = 1 if problem == REGRESSION else 5
        model = SynthmirClassifier(
            SynthmirConfig(hidden=(16,), embedder={"dim": 8}, num_labels=labels, problem_type=problem)
        )
    move(model, "cuda", mode)
    settings, accelerator = TrainingSettings(accumulate=2), Accelerator(cpu=True)
    backward: list[Tensor] = []  # autograd itself asks for CUDA
    monkeypatch.setattr(accelerator, "backward", backward.append)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    balance = None if problem == REGRESSION else make("cuda", labels)
    goal, scaled = Objective(problem, balance, smoothing=0.1), _Scaled(model)
    step = _Step(model, scaled, accelerator.prepare(optimizer), goal, settings, accelerator, None, torch.Generator())
    target = make("cuda", 12, dtype=torch.int64) if problem == SINGLE else make("cuda", 12, labels).squeeze(1)
    rows, order = make("cuda", 30, 8), make("cuda", 12, dtype=torch.int64)
    with CallRecorder() as recorder:
        weights = goal.weights(target)
        loss = step._backward(rows, order, target, weights, 1 / weights.sum(), 0.5, 0.0)
    assert_suits_gpus(recorder)
    assert loss.device.type == backward[0].device.type == "cuda"


def plant_host_tensor(engine: Engine) -> None:
    engine._offsets = engine._offsets.to("cpu")


def plant_wait(engine: Engine) -> None:
    attend = engine._cross_attention
    engine._cross_attention = lambda run, query, text: (  # type: ignore[method-assign]
        attend(run, query, text) if run.finite.all() else query
    )


def plant_changing_shape(engine: Engine) -> None:
    attend, count = engine._cross_attention, iter(range(1, 1000))
    engine._cross_attention = lambda run, query, text: (
        attend(  # type: ignore[method-assign]
            run, query, text
        )
        + query.new_zeros(next(count), 1).sum()
    )


@pytest.mark.parametrize(
    ("plant", "error"),
    [
        (plant_host_tensor, RuntimeError),
        (plant_wait, DataDependentOutputException),
        (plant_changing_shape, AssertionError),
    ],
)
def test_the_suite_catches_a_fault(
    plant: Callable[[Engine], None],
    error: type[Exception],
    mode: FakeTensorMode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, _ = make_engine(mode)
    run = start_run(engine, Sampling(), monkeypatch)
    plant(engine)
    steps = []
    with pytest.raises(error), torch.inference_mode():
        for _ in range(2):
            with CallRecorder() as recorder:
                engine._step(run, Sampling(), length=FRAMES, exact=False)
            steps.append(recorder.calls)
        assert steps[0] == steps[1]
