"""The settings of a case in turn, round after round: whatever changes on the machine meanwhile meets all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.findings import FIGURES, Notes
from benchmarks.pinned import Failed


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting, where it stands on a chart, and what one run of it comes to; `run` may raise `Failed`."""

    name: str
    at: float
    run: Callable[[], Mapping[str, float | None]]


def take_turns(trials: Sequence[Trial], notes: Notes, *, runs: int, told: Sequence[str]) -> None:
    """Run each trial once a round, and save after each round; print the figures named in `told` of each run.

    One that fails is told and has no more turns.
    """
    out: set[str] = set()
    for number in range(1, runs + 1):
        for trial in trials:
            if trial.name in out:
                continue
            print(f"round {number} of {runs}: {trial.name}: ", end="", flush=True)
            try:
                figures = trial.run()
            except Failed as exc:
                out.add(trial.name)
                print("out")
                notes.skip(f"{trial.name}: {exc}")
                continue
            notes.add(trial.name, figures, at=trial.at)
            print(", ".join(_told(name, figures.get(name)) for name in told))
        notes.save()


def _told(name: str, value: float | None) -> str:
    figure = FIGURES[name]
    return f"{'-' if value is None else figure.shown(value)} {figure.title}"
