"""Routing leaves out no made-up rule that has something to say."""

from __future__ import annotations

from random import Random

import pytest

from ingestd.detections import Engine, Watch
from ingestd.detections.routing.formulas import TRUE
from tests.detections.conftest import Fork
from tests.detections.made_up_rules import HELPERS, RuleMaker
from tests.detections.test_routing import PREAMBLE, build, random_event


def missed(fork: Fork, seed: int, rules: int, events: int) -> tuple[list[str], int]:
    """The code of rules that routing would have left out wrongly on some event, and how many it leaves out at all."""
    build(fork, {})
    codes = {f"R{number}": RuleMaker(Random(f"{seed}:{number}")).rule(number % 3) for number in range(rules)}
    for name, code in codes.items():
        fork.rule(name, f"{PREAMBLE}{HELPERS}{code}\n")
    engine = Engine(fork.load(), Watch(), routing="verify")
    generator = Random(seed)
    for _ in range(events):
        engine.evaluate(random_event(generator), "Test.Log")
    assert engine._analysis is not None
    routed = sum(engine._analysis.formula(name) is not TRUE for name in codes)
    return [codes[name] for name in sorted({one.detection_id for one in engine.missed})], routed


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_made_up_rules_are_not_missed(fork: Fork) -> None:
    """A hundred rules, many of which can be left out."""
    wrong, routed = missed(fork, 1, 100, 80)
    assert wrong == []
    assert routed > 25


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_made_up_rules_are_not_missed(fork: Fork, seed: int) -> None:
    """Thousands."""
    assert missed(fork, seed, 300, 200)[0] == []
