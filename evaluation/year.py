"""How long a simulated year takes: 365 healthy dates and a canary run each quarter hour, its halves on two cores.

Run it with `make bench-year`. The seconds are reported and never judged: they are this machine's.
"""

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from evaluation.play import play_season
from orchestrator_resilience.phase import BUNDLED_PHASES, load_phase

_HALVES = {"1/season/first": 183, "1/season/second": 182}
_RUNS = sum(_HALVES.values()) * 24 * 4


def main() -> None:
    """Play the year and print what it took."""
    play = partial(play_season, load_phase("phase2", BUNDLED_PHASES))
    began = time.perf_counter()
    with ProcessPoolExecutor(len(_HALVES), mp_context=get_context("spawn")) as pool:
        scores = [score for half in pool.map(play, _HALVES, _HALVES.values()) for score in half]
    seconds = time.perf_counter() - began
    busy = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = busy.ru_utime + busy.ru_stime
    print(f"{len(scores)} dates, {_RUNS} runs and more: {seconds:.1f} s, {cores:.1f} s of processors")
    print(f"peak memory {busy.ru_maxrss / 1024:.0f} MB; false alarms: {sum(s.alarmed for s in scores)}")


if __name__ == "__main__":
    main()
