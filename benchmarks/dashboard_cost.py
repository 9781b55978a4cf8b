"""What do live dashboards cost the run that they show, and the kernel that draws them?

(1) Generation with and without the explore dashboard, every panel live, in turns, on the
same workers of one real kernel whose messages are read but drawn by nobody: the wall time
of the Runs. (2) A thousand events a second into the dashboard's own loop: the share of a
core that the kernel needs to take them in and redraw, and how often it redraws.
"""

from __future__ import annotations

import argparse
import statistics

from comparison import compare, in_turns, print_table, result_path, write_result
from kernel import GIVE, Kernel

SET_UP = """
import time
import nbkit
from nbkit import dashboards

workers = nbkit.Workers()
prompts = nbkit.first_lines({prompts})
settings = dict(model={model!r}, max_new_tokens={tokens}, batch_size={batch}, ignore_eos=True)
explore = dashboards.Explore(workers, prompts, **settings)
def wait():
    while explore.is_busy:
        time.sleep(0.02)
wait()
workers.generate(prompts, **settings)
explore.run()
wait()
"""
PLAIN = "give(workers.generate(prompts, **settings).wall_s)"
WATCHED = """
explore.run()
wait()
give(explore.runs[-1].wall_s)
"""
EVENTS = """
import threading
from nbkit.engines import Streamed
from nbkit.inference.generation import Progress, ShareBegun
from nbkit.inference.progress import RunProgress
from nbkit.records.settings import Settings
from nbkit.runtime import Emitted, Job

def feed(job, seconds, per_second):
    try:
        send(job, seconds, per_second)
    except Exception as error:
        job.set_exception(error)
    else:
        job.set_result(None)

def send(job, seconds, per_second):
    begin = time.monotonic()
    for rank in (0, 1):
        job.add_event(Emitted(rank, ShareBegun(10, 0.0, 0.0, 3)))
    text = tuple(Streamed(i, "some words that a model has made up " * 8) for i in range(3))
    sent = 0
    while (at := time.monotonic() - begin) < seconds:
        while sent < at * per_second:
            job.add_event(Emitted(sent % 2, Progress(at, sent // 2, text)))
            sent += 1
        time.sleep(0.002)

def cost(seconds, per_second):
    job = Job("events", lambda *_: None, lambda _: None)
    explore._view.begin(range(2), Settings())
    drawn = explore._view._throughput.version
    feeder = threading.Thread(target=feed, args=(job, seconds, per_second))
    cpu = time.process_time()
    feeder.start()
    explore._follow(job, RunProgress(Settings(max_new_tokens=10**6), 20), prompts)
    used = time.process_time() - cpu
    feeder.join()
    job.result()
    redraws = explore._view._throughput.version - drawn
    return {{"core_percent": 100 * used / seconds, "redraws_per_second": redraws / seconds}}

give([cost({seconds}, rate) for rate in (0, 10, 1000)])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--max-new-tokens", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=5)
    parser.add_argument(
        "--model", default="smollm2-135m", help="short name, hub id or folder (default: smollm2-135m)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of events")
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "dashboard_cost")
    with Kernel() as kernel:
        kernel.run(GIVE)
        asked = {"model": options.model, "tokens": options.max_new_tokens, "batch": options.batch_size}
        kernel.run(SET_UP.format(prompts=options.prompts, **asked), cell="the-cell")
        contenders = {"watched": lambda: kernel.run(WATCHED), "plain": lambda: kernel.run(PLAIN)}
        rounds = in_turns(contenders, options.pairs)
        events = kernel.run(EVENTS.format(seconds=options.seconds))
    ratios = compare([each["watched"] for each in rounds], [each["plain"] for each in rounds])
    by_rate = dict(zip(("none", "10 a second", "1,000 a second"), events, strict=True))
    findings = {
        "wall_s": rounds,
        "median_wall_s": {name: statistics.median(each[name] for each in rounds) for name in rounds[0]},
        "watched_to_plain": ratios,
        "events": by_rate,
    }
    print_table("Wall time, s", rounds)
    print_table("Watched to plain", [ratios])
    print_table("Events", [{"events": name, **each} for name, each in by_rate.items()])
    write_result(path, "What do live dashboards cost?", vars(options), findings)


if __name__ == "__main__":
    main()
