"""Files of prompts, on disk or uploaded: text, JSON, and tables; what was taken of them is said, never guessed.

``endings`` tells what a file is; ``text_tables``, ``parquet_tables`` and ``json_values`` read it;
``forms`` knows what a prompt looks like, ``choice`` which column holds them, and
``sentences`` says what was taken.
"""

from nbkit.prompts.files.endings import PROMPT_ENDINGS
from nbkit.prompts.files.prompt_file import PromptFile, parse_prompt_file, parse_prompts, prompt_columns, read_prompts

__all__ = ["PROMPT_ENDINGS", "PromptFile", "parse_prompt_file", "parse_prompts", "prompt_columns", "read_prompts"]
