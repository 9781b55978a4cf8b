"""llama.cpp, many sequences in each batch, for compare.py: run with the Python of llama-cpp-python's environment.

Greedy, past the end of sequence, on all cores. A line of JSON is asked for, and a line of JSON answered.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

try:
    import llama_cpp
    import numpy as np
except ModuleNotFoundError as error:
    missing = error.name
else:
    missing = None

POSITIONS = 512
"""Of each sequence, prompt and output together."""

MOST_SEQUENCES = 128
BATCH_TOKENS = 2048


class Decoder:
    """The low-level interface: a batch of tokens, each with its sequence and position."""

    def __init__(self, file: str) -> None:
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = POSITIONS * MOST_SEQUENCES
        options.n_batch = options.n_ubatch = BATCH_TOKENS
        options.n_seq_max = MOST_SEQUENCES
        options.n_threads = options.n_threads_batch = len(os.sched_getaffinity(0))
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)

    def generate(self, prompts: list[str], new_tokens: int) -> list[list[int]]:
        """The new tokens of each prompt."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        tokens = [self._tokenize(prompt) for prompt in prompts]
        made: list[list[int]] = [[] for _ in prompts]
        self._prefill(tokens, made)
        for step in range(new_tokens - 1):
            items = [(made[i][-1], len(tokens[i]) + step, i, True) for i in range(len(prompts))]
            self._decode(items, made)
        return made

    def text(self, tokens: list[int]) -> str:
        return b"".join(self._piece(token) for token in tokens).decode(errors="replace")

    def _prefill(self, tokens: list[list[int]], made: list[list[int]]) -> None:
        waiting: list[tuple[int, int, int, bool]] = []
        for i, own in enumerate(tokens):
            if len(waiting) + len(own) > BATCH_TOKENS:
                self._decode(waiting, made)
                waiting = []
            waiting += [(token, place, i, place == len(own) - 1) for place, token in enumerate(own)]
        self._decode(waiting, made)

    def _decode(self, items: list[tuple[int, int, int, bool]], made: list[list[int]]) -> None:
        """Compute items (token, position, sequence, whether logits are wanted) and take the likeliest next tokens."""
        batch = self._batch
        batch.n_tokens = len(items)
        for place, (token, position, sequence, wanted) in enumerate(items):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
            batch.logits[place] = wanted
        if llama_cpp.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        for place, (_, _, sequence, wanted) in enumerate(items):
            if wanted:
                logits = llama_cpp.llama_get_logits_ith(self._context, place)
                made[sequence].append(int(np.ctypeslib.as_array(logits, (self._size,)).argmax()))

    def _tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        room = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), room, len(room), False, False)
        return list(room[:count])

    def _piece(self, token: int) -> bytes:
        import ctypes

        room = ctypes.create_string_buffer(256)
        count = llama_cpp.llama_token_to_piece(self._vocab, token, room, len(room), 0, False)
        return room.raw[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a GGUF file")
    parser.add_argument("dtype", help="the file's own")
    options = parser.parse_args()
    if missing:
        sys.exit(f"{missing} is not installed for {sys.executable}: python -m pip install llama-cpp-python")
    decoder = Decoder(options.file)
    for line in sys.stdin:
        asked = json.loads(line)
        began_s = time.perf_counter()
        made = decoder.generate(asked["prompts"], asked["new_tokens"])
        texts = [decoder.text(tokens) for tokens in made]
        print("\n" + json.dumps({"seconds": time.perf_counter() - began_s, "texts": texts}), flush=True)


if __name__ == "__main__":
    main()
