"""The table of cases: a scenario is a function that records, and returns the judge of its connections."""

from dataclasses import dataclass, field
from typing import Callable

CASES = {}


@dataclass
class Case:
    name: str
    title: str
    done: str
    software: list
    vantage: str
    run: Callable
    # Cause id (or "clean") to the least number of connections that must have it.
    shows: dict = field(default_factory=dict)


def case(name, title, done, software, vantage="loopback of the only host", shows=None):
    """Registers a scenario: `run(lab)` starts the recording and returns judge(connection) -> Truth."""

    def register(run):
        if name in CASES:
            raise ValueError(f"two cases are named {name}")
        CASES[name] = Case(name, title, done, list(software), vantage, run, dict(shows or {}))
        return run

    return register
