"""The command line in one process, without workers: what its options say, and what it says to bad input."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from example_runs import run as example_run

from nbkit.app.cli import commands, generate, sweep
from nbkit.app.cli.options import SettingOptions
from nbkit.errors import InputError
from nbkit.records.request import Conversation
from nbkit.records.setting_values import Flag
from nbkit.records.settings import ARTICLE, FIELDS, Settings

OTHER = {
    "model": "tiny-random",
    "engine": "batched",
    "batch_size": 3,
    "max_new_tokens": 4,
    "dtype": "float32",
    "split": "static",
    "order": "as_given",
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 5,
    "seed": 2,
    "quantization": "int8",
    "token_budget": 500,
    "special_tokens": "none",
    "pad_to_multiple_of": 4,
    "ignore_eos": True,
    "tokenize_first": True,
    "warm_up": False,
    "stop": (" z",),
}
"""Of every field a value that is not the usual one."""


def nbkit(capsys, *arguments):
    """The exit code of a command, and what it printed and complained."""
    with pytest.raises(SystemExit) as ended:
        commands.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def as_typed(value):
    return str(value[0] if isinstance(value, tuple) else value)


class FakeWorkers(contextlib.nullcontext):
    """Workers that answer every prompt in no time; ``asked`` is what they were asked for."""

    def __init__(self, asked):
        super().__init__(self)
        self._asked = asked

    def submit_generate(self, prompts, settings):
        self._asked.append(settings)
        self._made = dataclasses.replace(example_run(prompts=len(prompts)), prompts=prompts, settings=settings)
        return self

    def events(self, timeout):
        return iter([])

    def result(self):
        return self._made


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The settings that ``nbkit generate`` asks for; it runs in a folder with a file of prompts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    settings = []
    monkeypatch.setattr(generate, "Workers", lambda workers: FakeWorkers(settings))
    return settings


@pytest.fixture
def grids(monkeypatch):
    """The grids that ``nbkit sweep`` would measure."""
    found = []

    def not_begun(out, grid, prompts):
        found.append(grid)
        raise InputError("no more is wanted")

    monkeypatch.setattr(sweep, "resume_or_begin", not_begun)
    return found


@pytest.mark.parametrize("command", ["generate", "sweep"])
def test_help_names_every_setting_with_its_line(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    code, said, _ = nbkit(capsys, command, "--help")
    assert code == 0
    assert "More settings" in said
    for name, info in FIELDS.items():
        if (command, name) != ("sweep", "seed"):
            assert f"--{name.replace('_', '-')}" in said
        assert info.help in said


def test_help_of_generate_names_the_kinds_of_files_and_the_column(capsys):
    _, said, _ = nbkit(capsys, "generate", "--help")
    assert all(word in said for word in (".txt", ".jsonl", ".csv", ".parquet", "--column"))


def test_doctor_says_what_there_is(capsys):
    code, said, _ = nbkit(capsys, "doctor")
    assert code == 0, said
    assert "nbkit can run here" in said
    assert "torch" in said


def test_without_options_generate_asks_for_the_defaults(capsys, asked):
    commands.app(["generate", "prompts.txt", "--out", "o.json"], standalone_mode=False)
    assert asked == [Settings()]


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_an_option_of_generate(asked, name):
    option, value = f"--{name.replace('_', '-')}", OTHER[name]
    given = {True: [option], False: [f"--no-{option[2:]}"]}.get(value, [option, as_typed(value)])
    commands.app(["generate", "prompts.txt", "--out", "o.json", *given], standalone_mode=False)
    assert asked == [Settings(**{name: value})]
    assert value != getattr(Settings(), name)


def test_a_yes_can_be_taken_back_and_stop_strings_are_given_one_by_one(asked):
    options = ["--ignore-eos", "--no-ignore-eos", "--stop", "zz", "--stop", " z", "--token-budget", "none"]
    commands.app(["generate", "prompts.txt", "--out", "o.json", *options], standalone_mode=False)
    assert asked == [Settings(stop=("zz", " z"))]


def test_without_options_a_sweep_is_the_articles_way_over_ranks_and_batch_sizes(capsys, grids):
    nbkit(capsys, "sweep")
    [grid] = grids
    assert (grid.ranks, grid.batch_sizes, grid.axes) == ((1, 2), (1, 4, 16), {})
    wanted = Settings(**ARTICLE, max_new_tokens=20, ignore_eos=True)
    assert {dataclasses.replace(point.settings, batch_size=16) for point in grid.points()} == {wanted}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_an_axis_of_a_sweep(capsys, grids, name):
    value, called = OTHER[name], "draw-seed" if name == "seed" else name.replace("_", "-")
    first = {"stop": "a", "batch_size": 512, "token_budget": 512}.get(name, getattr(Settings(), name))
    given = [f"--{called}", f"{first},{as_typed(value)}"]
    if isinstance(FIELDS[name].values, Flag):
        given = [f"--no-{called}", f"--{called}"]
    elif name == "engine":
        given = ["--engine", "simple,batched"]
    # Where it has an effect.
    also = {"quantization": ["--engine", "compiled"], "engine": []}.get(name, ["--temperature", "0.5"])
    nbkit(capsys, "sweep", *(also if name != "temperature" else []), *given)
    [grid] = grids
    assert len(grid.choices()[name]) == 2
    assert value in {getattr(point.settings, name) for point in grid.points()}


def test_one_value_for_all_is_no_axis(capsys, grids):
    nbkit(capsys, "sweep", "--max-new-tokens", "7", "--no-ignore-eos", "--stop", "END", "--seed", "3")
    [grid] = grids
    assert (grid.axes, grid.seed) == ({}, 3)
    assert (grid.base.max_new_tokens, grid.base.ignore_eos, grid.base.stop) == (7, False, ("END",))


def test_options_of_a_command_are_of_its_fields_alone():
    options = SettingOptions(usual={"top_k": 5}, called={"top_k": "likeliest"})

    def command(out: str, **asked: object) -> None: ...

    assert list(options.added_to(command).__signature__.parameters) == ["out", "likeliest"]
    assert options.read({"likeliest": "7"}) == {"top_k": 7}
    assert options.read({"likeliest": None}) == {"top_k": 5}


def test_a_conversation_is_written_as_its_messages(tmp_path):
    messages = [{"role": "user", "content": "Why?"}]
    made = dataclasses.replace(example_run(prompts=1), prompts=[Conversation.of(messages)])
    generate.save(made, tmp_path / "o.jsonl")
    (line,) = (tmp_path / "o.jsonl").read_text().splitlines()
    assert json.loads(line)["prompt"] == messages


def test_generate_takes_the_column_it_is_told_of_a_table(asked, tmp_path):
    (tmp_path / "table.csv").write_text('id,question\n1,"one, or\ntwo"\n2,NA\n')
    commands.app(["generate", "table.csv", "--column", "question", "--out", "o.jsonl"], standalone_mode=False)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["one, or\ntwo", "NA"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.txt", "--out", "o.json"], "gone.txt: No such file"),
        (["prompts.txt", "--out", "o.json", "--column", "text"], "prompts.txt is text without columns"),
        (["prompts.txt", "--out", "o.csv"], "must end in .json or .jsonl"),
        (["prompts.txt", "--out", "prompts.txt/o.json"], "cannot write"),
        (["prompts.txt", "--out", "o.json", "--batch-size", "0"], "batch_size must be at least 1, not 0"),
        (["prompts.txt", "--out", "o.json", "--batch-size", "x"], "--batch-size takes auto or a whole number"),
        (["prompts.txt", "--out", "o.json", "--top-k", "1.5"], "--top-k takes a whole number of at least 0"),
        (["prompts.txt", "--out", "o.json", "--top-p", "x"], "--top-p takes a number, not 'x'"),
        (
            ["prompts.txt", "--out", "o.json", "--engine", "simple", "--quantization", "int8"],
            "needs engine='compiled'",
        ),
        (["prompts.txt", "--out", "o.json", "--temperature", "-1"], "temperature must be a number"),
        (["prompts.txt", "--out", "o.json", "--engine", "warp"], "engine must be one of"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(capsys, asked, tmp_path, arguments, message):
    code, _, complained = nbkit(capsys, "generate", *arguments)
    assert code == 2
    assert message in complained
    assert "Traceback" not in complained
    assert asked == []
    assert not (tmp_path / "o.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "repeats must be a whole number of at least 1, not 0"),
        (["--ranks", "1,x"], "--ranks takes whole numbers of at least 1, separated by commas, not '1,x'"),
        (["--batch-size", "4,x"], "--batch-size takes whole numbers of at least 1, separated by commas, not '4,x'"),
        (["--engine", ""], "engines is empty"),
        (["--engine", "warp"], "engine must be one of"),
        (["--temperature", "0,x"], "--temperature takes a number, not 'x'"),
        (["--dtype", "auto,int3"], "dtype must be one of auto, float32, bfloat16, float16, not 'int3'"),
        (["--max-new-tokens", ","], "max_new_tokens is empty"),
        (["--prompts", "²"], "²: a file of prompts ends in"),
        (["--prompts", "no-such-file.txt"], "no-such-file.txt"),
        (["--prompts", "0"], "number of prompts must be a whole number"),
        (["--out", "o.html"], "--out names the file of the measurements, not 'o.html'"),
        (["--out", "."], "is a folder; name a file in it"),
    ],
)
def test_bad_input_for_a_sweep_is_a_sentence_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, complained = nbkit(capsys, "sweep", "--model", "tiny-random", *arguments)
    assert code == 2
    assert message in complained
    assert "Traceback" not in complained
    assert not list(tmp_path.iterdir()), "nothing was begun"
