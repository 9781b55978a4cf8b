"""``nbkit check`` without processes: its order, its time, its file, and what it makes of numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from example_runs import run as example_run

from nbkit.analysis.decode_speed import DecodeSpeed
from nbkit.app import doctor
from nbkit.app.check import bench as benches
from nbkit.app.check import catalog, first_runs, installed, load, notebooks, ranks, speed, texts
from nbkit.app.check.bench import Bench
from nbkit.app.check.execute_notebook import put_in_model
from nbkit.app.check.findings import Answer, Report, Skipped, judged, noted
from nbkit.app.check.runner import NO_TIME, Check, Clock, OutOfTime, Part, run_checks
from nbkit.app.cli import commands
from nbkit.errors import InputError, RankError
from nbkit.inference.hello import Greeting, HelloGather
from nbkit.measure.plain_generate import PlainRun
from nbkit.models.model_arithmetic import LLAMA_2_7B
from nbkit.records import Fallback, LoadSample
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import Settings
from nbkit.runtime import RankInfo

GB = 1e9


def good() -> Answer:
    return judged(True, "good", s=1.5)


def raising(error: BaseException):
    def do() -> Answer:
        raise error

    return do


def check_of(name: str, *parts: Part, share: float = 0.0) -> Check:
    return Check(name, "?", lambda bench: iter(parts), share)


def outcomes(*checks: Check, clock: Clock | None = None) -> list[tuple[str, str, str]]:
    clock = clock or Clock(8)
    return [(f.check, f.outcome, f.said) for f in run_checks(checks, Bench(clock), clock)]


# Going on, and the time.


def test_what_fails_is_a_finding_and_the_rest_goes_on():
    def breaks_down(bench):
        yield Part("first", good)
        raise KeyError("lost")

    assert outcomes(
        check_of(
            "a",
            Part("x", raising(ZeroDivisionError("by zero"))),
            Part("y", raising(InputError("int4 needs torchao."))),
            Part("z", raising(RankError(3, "ValueError: no", "Traceback ..."))),
            Part("skips", raising(Skipped("there is no GPU"))),
            Part("late", raising(OutOfTime())),
            Part("good", good),
        ),
        Check("b", "?", breaks_down),
        check_of("c", Part("good", good)),
    ) == [
        ("a", "failed", "x: ZeroDivisionError: by zero"),
        ("a", "failed", "y: int4 needs torchao"),
        ("a", "failed", "z: rank 3 raised ValueError: no"),
        ("a", "skipped", "skips: there is no GPU"),
        ("a", "skipped", f"late: {NO_TIME} (stopped after 0 s)"),
        ("a", "passed", "good"),
        ("b", "passed", "good"),
        ("b", "failed", "its preparation: KeyError: 'lost'"),
        ("c", "passed", "good"),
    ]


def test_what_cannot_begin_any_more_is_skipped_and_time_is_kept_for_later_checks():
    now = [0.0]
    clock = Clock(1, now=lambda: now[0])

    def takes(seconds: float):
        def do() -> Answer:
            now[0] += seconds
            return good()

        return do

    assert outcomes(
        check_of("a", Part("1", takes(45)), Part("2", takes(10)), Part("sum", good, is_instant=True)),
        check_of("b", Part("3", takes(15)), share=0.25),
        check_of("c", Part("4", takes(1))),
        clock=clock,
    ) == [
        ("a", "passed", "good"),
        ("a", "skipped", f"2: {NO_TIME}"),
        ("a", "passed", "good"),
        ("b", "passed", "good"),
        ("c", "skipped", f"4: {NO_TIME}"),
    ]


def test_shares_of_the_time_leave_most_of_it_to_what_comes_first():
    assert sum(check.share for check in catalog.CHECKS.values()) < 0.5


# The command and its file.


def ended_with(capsys, *arguments: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        commands.main(["check", *map(str, arguments)])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.fixture
def only_these(monkeypatch):
    """Other checks in the place of the real ones, on a machine without GPU."""

    def put(*checks: Check) -> None:
        monkeypatch.setattr(catalog, "CHECKS", {check.name: check for check in checks})

    monkeypatch.setattr(benches, "gpus_here", lambda: ())
    return put


def test_all_findings_are_printed_and_written(capsys, tmp_path, only_these):
    out = tmp_path / "c.json"
    only_these(check_of("a", Part("x", good), Part("n", lambda: noted("3 GB/s"))), check_of("b", Part("y", good)))
    code, printed, _ = ended_with(capsys, "--out", out)
    assert code == 0
    assert "passed   a           good" in printed
    assert "3 passed" not in printed and "2 passed, 1 noted, in 0 s" in printed
    found = json.loads(out.read_text())
    assert (found["kind"], found["schema_version"], found["ended"]) == ("nbkit check", 1, "whole")
    assert found["counts"] == {"passed": 2, "failed": 0, "skipped": 0, "noted": 1}
    assert found["versions"]["torch"]
    assert found["machine"]["cores"] >= 1
    assert found["gpus"] == []
    assert found["findings"][0] == {
        "check": "a",
        "part": "x",
        "outcome": "passed",
        "said": "good",
        "seconds": 0.0,
        "numbers": {"s": 1.5},
        "log": [],
    }


def test_a_failure_is_named_at_the_end_and_is_exit_code_1(capsys, tmp_path, only_these):
    only_these(check_of("a", Part("x", raising(ValueError("no"))), Part("y", good)))
    code, printed, _ = ended_with(capsys, "--out", tmp_path / "c.json")
    assert code == 1
    assert "1 passed, 1 failed" in printed
    assert "failed: a: x" in printed


def test_an_interrupt_writes_what_there_is_and_is_exit_code_130(capsys, tmp_path, only_these):
    out = tmp_path / "c.json"
    only_these(check_of("a", Part("x", good), Part("y", raising(KeyboardInterrupt())), Part("z", good)))
    code, printed, _ = ended_with(capsys, "--out", out)
    found = json.loads(out.read_text())
    assert code == 130
    assert "stopped by Ctrl-C" in printed
    assert (found["ended"], [each["part"] for each in found["findings"]]) == ("interrupted", ["x"])


def test_some_checks_are_chosen_in_their_own_order(capsys, tmp_path, only_these):
    only_these(*(check_of(name, Part(name, good)) for name in "abc"))
    out = tmp_path / "c.json"
    assert ended_with(capsys, "--only", "c,a", "--out", out)[0] == 0
    assert [each["check"] for each in json.loads(out.read_text())["findings"]] == ["a", "c"]
    code, _, complaint = ended_with(capsys, "--only", "d", "--out", out)
    assert (code, complaint) == (2, "nbkit: --only takes a, b, c, not 'd'.\n")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--minutes", "0"), "--minutes must be above 0, not 0."),
        (("--notebooks", "nowhere"), "--notebooks names a folder, and nowhere is none."),
        (("--out", "/"), "/ is a folder; name a file in it."),
    ],
)
def test_bad_input_is_a_sentence(capsys, options, complaint):
    assert ended_with(capsys, *options)[::2] == (2, f"nbkit: {complaint}\n")


def test_long_findings_are_wrapped_below_themselves(capsys, tmp_path, only_these, monkeypatch):
    monkeypatch.setattr("nbkit.app.cli.check.console.width", 80, raising=False)
    only_these(check_of("a", Part("x", lambda: noted("word " * 40))))
    printed = ended_with(capsys, "--out", tmp_path / "c.json")[1]
    lines = [line for line in printed.splitlines() if "word" in line]
    assert len(lines) > 2
    assert all(len(line) <= 110 for line in lines)
    assert all(line.startswith(" " * 21) for line in lines[1:])


def test_a_report_counts_its_findings():
    assert Report(8, ()).counts == {"passed": 0, "failed": 0, "skipped": 0, "noted": 0}


# Ranks.


def info(rank: int, device: str, backend: str | None = "gloo", world_size: int = 2) -> RankInfo:
    return RankInfo(rank, rank, world_size, "node", 100 + rank, device, "a device", backend)


def greetings(*said: tuple[int, str, str]) -> HelloGather:
    return HelloGather([Greeting(rank, text, device, 1, "node") for rank, text, device in said], [0.001])


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (0, ["2 ranks over gloo on the CPU"]),
        (1, ["1 rank over NCCL on a GPU", "2 ranks over gloo on one GPU"]),
        (4, ["4 ranks over NCCL on a GPU each", "5 ranks over gloo on 4 GPUs, one of them shared"]),
    ],
)
def test_ranks_meet_in_each_way_that_the_machine_has(gpus, expected):
    assert [meeting.words for meeting in ranks.meetings(gpus)] == expected


def test_nccl_between_ranks_wants_two_gpus():
    assert ranks.why_no_nccl(2) is None
    assert ranks.why_no_nccl(1) == "NCCL wants a GPU for each rank, and here is one"
    assert ranks.why_no_nccl(0) == "NCCL wants a GPU for each rank, and here is none"


@pytest.mark.parametrize("check", ["hello", "errors", "kills"])
def test_only_ranks_that_wait_for_others_are_tried_for_errors_and_kills(check):
    clock = Clock(8)
    parts = {
        gpus: [part.name for part in catalog.CHECKS[check].parts(Bench(clock, ({"name": "G"},) * gpus))]
        for gpus in (0, 1, 2)
    }
    of_one = [name for name in parts[1] if "NCCL on a GPU" in name]
    assert of_one == (["1 rank over NCCL on a GPU"] if check == "hello" else [])
    assert any("2 ranks over gloo" in name for name in parts[1])
    assert any("2 ranks over NCCL" in name for name in parts[2])
    assert any("3 ranks over gloo" in name for name in parts[2])
    assert not any("NCCL on" in name for name in parts[0])


@pytest.mark.parametrize(
    ("device", "rank", "gpus", "right"),
    [
        *(("cuda:0", 0, 1, True), ("cuda:0", 1, 1, True), ("cuda", 0, 2, True), ("cuda:1", 1, 2, True)),
        *(("cuda:0", 2, 2, True), ("cuda:0", 1, 2, False), ("cpu:0", 0, 1, False), ("cuda", 1, 2, False)),
        *(("cpu", 0, 0, True), ("cpu:0", 1, 0, True), ("cuda:0", 0, 0, False)),
    ],
)
def test_ranks_are_dealt_to_gpus_in_turn(device, rank, gpus, right):
    assert ranks.is_device(device, rank, gpus) is right


def test_what_is_wrong_with_ranks_is_said():
    meeting = ranks.Meeting("nccl", 2, "a GPU each")
    right = [info(0, "cuda:0", "nccl"), info(1, "cuda:1", "nccl")]
    assert ranks.what_is_wrong_with_the_ranks(right, meeting, 2) == []
    assert ranks.what_is_wrong_with_the_ranks([info(0, "cuda:0"), info(1, "cuda:0")], meeting, 2) == [
        "they met over gloo instead of nccl",
        "rank 1 is on cuda:0",
    ]
    alone = ranks.Meeting("nccl", 1, "a GPU")
    assert ranks.what_is_wrong_with_the_ranks([info(0, "cuda", None, 1)], alone, 1) == []


def test_what_is_wrong_with_greetings_is_said():
    infos = [info(0, "cuda:0"), info(1, "cuda:0")]
    right = greetings((0, "Hello this is GPU 0", "cuda:0"), (1, "Hello this is GPU 1", "cuda:0"))
    assert ranks.what_is_wrong_with_the_greetings(right, infos, 1) == []
    wrong = greetings((0, "Hello this is GPU 0", "cuda:0"), (0, "Hello this is GPU 0", "cuda:0"))
    assert ranks.what_is_wrong_with_the_greetings(wrong, infos, 1) == [
        "of 2 ranks 2 answered, or in another order",
        "rank 0 of 2 said 'Hello this is GPU 0' on cuda:0",
    ]


# What is installed, texts, speed.


def test_the_doctors_marks_become_outcomes():
    found = [
        doctor.Check("torch", "2.13"),
        doctor.Check("memory", "1 GB free", "close other programs"),
        doctor.Check("plotly", "not installed", "pip install plotly", is_extra=True),
        doctor.Check("psutil", "not installed", "pip install psutil", is_broken=True),
    ]
    assert installed.in_order(found).said == "torch 2.13"
    assert [installed._answer(each).outcome for each in found[1:]] == ["noted", "skipped", "failed"]


def test_all_texts_must_be_equal_but_those_of_other_libraries():
    run = example_run()
    expected = list(run.outputs)
    assert texts.compared(run, "compiled", expected).said == "compiled: 10 of 10 texts equal simple's"
    one_other = ["another", *expected[1:]]
    assert texts.compared(run, "compiled", one_other).outcome == "failed"
    assert texts.compared(run, "vllm", one_other).outcome == "passed"
    fallen = dataclasses.replace(run, fallback=Fallback("batched", True, ("compiled: it fails",)))
    assert texts.compared(fallen, "compiled", expected).outcome == "failed"


def decoding(
    step_s: float, limit_share: float = 0.9, share: float = 0.95, tokens_per_s: float = 2000.0
) -> DecodeSpeed:
    return DecodeSpeed(tokens_per_s, 1000 * limit_share, 1000.0, "memory", step_s, share, 5.0, 0.0)


def known(**changes: DecodeSpeed) -> speed.Measured:
    found = speed.Measured()
    for size in (16, 100):
        found.decoding[speed.Contender("compiled", size)] = decoding(0.006)
        found.plain[size] = PlainRun("static", size, 10_000, 10.0, 36.0)
    found.decoding[speed.Contender("compiled", 16, "int8")] = decoding(0.004)
    for bits, each in changes.items():
        found.decoding[speed.Contender("compiled", 16, bits)] = each
    return found


def test_aims_have_a_verdict_on_gpus_alone():
    met = dict(speed.aims(speed.GPU_WORK, known(), has_verdict=True))
    assert [answer.outcome for answer in met.values()] == ["passed"] * 7
    assert [answer.said.rpartition(": ")[2] for answer in met.values()] == [*["90%", "95%", "2.00 x"] * 2, "1.50 x"]
    missed = dict(speed.aims(speed.GPU_WORK, known(none=decoding(0.005, 0.7, 0.6, 1200.0)), has_verdict=True))
    assert [answer.outcome for answer in missed.values()] == [*["failed"] * 3, *["passed"] * 3, "failed"]
    on_cpu = dict(speed.aims(speed.CPU_WORK, known(), has_verdict=False))
    assert [answer.outcome for answer in on_cpu.values()] == ["noted"] * 4
    nothing = dict(speed.aims(speed.GPU_WORK, speed.Measured(), has_verdict=True))
    assert {answer.outcome for answer in nothing.values()} == {"skipped"}


@pytest.mark.parametrize("work", [speed.GPU_WORK, speed.CPU_WORK])
def test_every_contender_is_there_once_and_can_be_asked_for(work):
    assert len(set(work.contenders)) == len(work.contenders)
    assert {contender.engine for contender in work.contenders} == {None, *ENGINES}
    for contender in work.contenders:
        if contender.engine is not None:
            Settings(engine=contender.engine, batch_size=contender.size, quantization=contender.quantization)


def test_contenders_in_words():
    said = [contender.words for contender in speed.GPU_WORK.contenders]
    assert said[:4] == [
        "compiled, 16 at once",
        "compiled, 100 at once",
        "compiled int8, 16 at once",
        "compiled int4, 16 at once",
    ]
    assert "transformers' generate, 16 at once" in said
    assert "simple, one at a time" in said


def test_decode_speed_is_of_the_runs_own_records():
    run = example_run()
    device = speed.DeviceSpeed("a processor", "float32", 17e9, 90e9, "made up", ranks=2)
    found = DecodeSpeed.of(run, LLAMA_2_7B, device)
    assert found.step_s == pytest.approx(0.9 * len(run.batches) / sum(b.steps - 1 for b in run.batches))
    assert found.useful_tokens_per_s == run.tokens_per_second
    assert found.decode_share == pytest.approx(sum(b.decode_s for b in run.batches) / (2 * run.wall_s))
    assert found.limit_step_s == pytest.approx(found.step_s * found.limit_share)


@pytest.mark.parametrize(
    ("disk_gb", "gpu_gb", "layers"),
    [(50, 78, 32), (50, 24, 11), (8, 78, 13), (2, 78, 0), (50, 1, 0)],
)
def test_the_random_model_is_as_large_as_disk_and_gpu_allow(disk_gb, gpu_gb, layers):
    assert benches.layers_for(disk_gb * GB, gpu_gb * GB) == layers


def test_the_random_model_in_words():
    assert benches.about_random_llama(32) == "Llama-2-7b's shape, random weights, 13.5 GB"
    assert "19 of 32 layers, for want of room" in benches.about_random_llama(19)


def test_a_gpu_without_room_for_the_large_model_is_held_to_no_aims():
    on_gpu = Bench(Clock(8), ({"name": "G"},))
    assert not on_gpu.measures_a_small_model
    on_gpu._speed_model = benches.SpeedModel("tiny-random", "tiny-random, for want of room")
    assert on_gpu.measures_a_small_model
    on_gpu._speed_model = benches.SpeedModel("/tmp/model", "Llama-2-7b's shape")
    assert not on_gpu.measures_a_small_model
    assert Bench(Clock(8)).measures_a_small_model


# First runs, load, notebooks.


def rated(*tokens_per_s: float):
    """Runs of so many tokens per second."""
    run = example_run()

    def lasting(seconds):
        told = (run.batches, run.ranks)
        batches, ranks = ([dataclasses.replace(each, begin_s=0.0, end_s=seconds) for each in all_] for all_ in told)
        return dataclasses.replace(run, batches=batches, ranks=ranks)

    return [lasting(run.total_new_tokens / rate) for rate in tokens_per_s]


@pytest.mark.parametrize(
    ("rounds", "outcome"),
    [
        ([(100, 101)], "passed"),
        ([(80, 100)], "failed"),
        ([(80, 100, 101)], "failed"),
        ([(80, 100, 82)], "noted"),
        ([(80, 100, 101), (99, 100, 101), (100, 100, 99)], "passed"),
    ],
)
def test_first_and_second_runs_may_not_be_far_apart_unless_later_ones_are(rounds, outcome):
    answer = first_runs.compared("compiled", [rated(*rates) for rates in rounds])
    assert answer.outcome == outcome
    assert answer.numbers["warm_up_s"][0][0] == example_run().warm_up_s


def sample(at_s: float, busy: float, memory: int = 10**10, power: float | None = 300.0, gpu: int = 0) -> LoadSample:
    return LoadSample(at_s, None, gpu, busy, memory, power)


@pytest.mark.parametrize(
    ("samples", "outcome"),
    [
        ([sample(0.0, 0.0), sample(3.0, 90.0)], "passed"),
        ([sample(3.0, 90.0, power=None)], "passed"),
        ([sample(3.0, 0.0), sample(4.0, 0.0)], "failed"),
        ([sample(3.0, 90.0, memory=10**12)], "failed"),
        ([sample(3.0, 90.0, gpu=1)], "failed"),
        ([sample(0.0, 90.0)], "failed"),
        ([], "failed"),
    ],
)
def test_load_must_be_told_while_the_gpu_decodes(samples, outcome):
    assert load.plausible(samples, example_run(), gpu_memory_bytes=80 * 10**9).outcome == outcome


def test_why_no_notebook_runs_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert notebooks.find_folder(None) is None
    assert "there is no folder notebooks here" in str(notebooks.why_none(None))
    Path("notebooks").mkdir()
    assert notebooks.find_folder(None) == Path("notebooks")
    assert notebooks.why_none(Path("notebooks")) == "there is no notebook in notebooks"
    Path("notebooks/a.ipynb").touch()
    assert notebooks.why_none(Path("notebooks")) is None
    monkeypatch.setattr(notebooks, "package_version", lambda name: None if name == "nbclient" else "1")
    assert notebooks.why_none(Path("notebooks")) == "not installed: nbclient; they run notebooks"


def test_a_notebook_is_put_on_another_model():
    import nbformat

    cells = [nbformat.v4.new_code_cell('MODEL = "smollm2-135m"\nx = 1'), nbformat.v4.new_markdown_cell("MODEL")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    put_in_model(notebook, "smollm2-135m", "tiny-random")
    assert notebook.cells[0].source == 'MODEL = "tiny-random"\nx = 1'
