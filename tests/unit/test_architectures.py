"""Every engine gives a model's own text, whatever its architecture: a matrix of models and engines."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import transformers
from architectures import ARCHITECTURES, PROMPTS, Architecture, build, load, plain_steps, token_ids, why_insensitive
from engine_runs import Watch, outputs

from nbkit import models
from nbkit.engines import Request, make_engine, sequences_that_fit
from nbkit.engines.proof import GivenPrompts
from nbkit.engines.selection import WAYS, Way, select
from nbkit.records.settings import Settings

SEEDS_CHOSEN_WITH = "5.24"
"""Other versions may draw a model's weights in another order, and get one in which a mistake shows less."""

ENGINES = ("simple", "batched", "compiled", "continuous")
NEW = 12

WELL_KNOWN = {
    *(
        "Llama",
        "Mistral",
        "Mixtral",
        "Qwen2",
        "Qwen2Moe",
        "Qwen3",
        "Phi",
        "Phi3",
        "Gemma2",
        "Gemma3Text",
        "Gemma4Text",
    ),
    *(
        "GptOss",
        "GPT2",
        "GPTNeoX",
        "GPTJ",
        "OPT",
        "Bloom",
        "Falcon",
        "Mpt",
        "StableLm",
        "Olmo2",
        "Cohere2",
        "Granite",
    ),
    *("Granite", "SmolLM3", "DeepseekV3", "MiniMax", "Rwkv", "Mamba", "RecurrentGemma", "XGLM"),
}
"""Families that are tried each time; the others, whose kinds of layers these have too, in ``make test-all``."""

MODELS = [
    pytest.param(each, id=each.name, marks=[] if each.family in WELL_KNOWN else pytest.mark.slow)
    for each in ARCHITECTURES
]
count: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def proofs_of_this_run(tmp_path_factory):
    """Every model meets every engine for the first time; at the end the matrix's count is printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    print(f"\nmodels x engines: {', '.join(f'{count[outcome]} {outcome}' for outcome in sorted(count))}")


@pytest.mark.parametrize("architecture", MODELS)
def test_all_engines_give_the_models_own_text(architecture: Architecture, tmp_path):
    if not architecture.is_known:
        pytest.skip(f"this transformers has no {architecture.family}")
    plain = load(build(architecture, tmp_path))
    steps = plain_steps(plain, PROMPTS, NEW)
    if transformers.__version__.startswith(SEEDS_CHOSEN_WITH):
        assert (why := why_insensitive(plain, steps, architecture.reach, NEW)) == "", why
    loaded = models.load(str(tmp_path), "float32")
    expected = [loaded.tokenizer.decode(tokens, skip_special_tokens=True) for tokens, _ in steps]
    loaded = dataclasses.replace(loaded, prompt_tokens=given_prompts(), prepared={})
    for engine in ENGINES:
        text, way, outcome = generated(loaded, engine)
        count[outcome] += 1
        assert text == expected, f"{engine}: {outcome}"
        # Not by luck: what transformers itself does wrong in a padded batch, or in any, is found.
        if way.engine == "batched":
            assert architecture.batches and (architecture.pads or not way.pads), outcome


def given_prompts() -> GivenPrompts:
    """The ids that the plain model is given: some families' tokenizers drop what others keep."""
    return GivenPrompts({prompt: token_ids(prompt)[0].tolist() for prompt in PROMPTS})


def generated(loaded: models.LoadedModel, engine: str) -> tuple[list[str], Way, str]:
    """What a user gets who asks for an engine, and by which engine."""
    asked = Settings(engine=engine, max_new_tokens=NEW, batch_size=len(PROMPTS))
    prompts = [Request(index, text) for index, text in enumerate(PROMPTS)]
    way = WAYS[engine][select(asked, loaded, prompts).index]
    assert sequences_that_fit(asked, loaded, longest=max(map(len, PROMPTS)), sharing=1) > len(PROMPTS)
    taken = Settings.of(asked, engine=way.engine)
    made = make_engine(taken, loaded, len(PROMPTS), pads=way.pads)
    batches = [[prompt] for prompt in prompts] if taken.is_in_flight else [prompts]
    texts = [output.text for output in outputs(list(made.generate(batches, Watch())))]
    return (
        texts,
        way,
        f"{engine} by {way.engine}{'' if way.pads or way.engine == 'simple' else ', one length at a time'}",
    )


def test_each_architecture_has_a_name_of_its_own():
    names = [architecture.name for architecture in ARCHITECTURES]
    assert len(set(names)) == len(names)
