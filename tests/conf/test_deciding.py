"""The decision of a configuration: how it is written, what of it travels, and what leaves no trace."""

from __future__ import annotations

import pickle

import pytest
import yaml

from lossfleet.conf.deciding import Decision
from lossfleet.conf.metrics import sign_of
from lossfleet.conf.schema import Config, build_part
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.planning.plan import Plan, Study

TWO = ("strategy=ce", "data=breast_cancer")
DECISIONS = {
    ("decision=prior",): Decision("prior"),
    ("decision=threshold", "decision.metric=f1[benign]"): Decision("threshold", metric="f1[benign]"),
    ("decision=threshold", "decision.at_least='recall[malignant] >= 0.90'"): Decision(
        "threshold", at_least="recall[malignant]>=0.9"
    ),
    ("decision=costs", "decision.costs={benign:{malignant:0.5},malignant:{benign:8}}"): Decision(
        "costs", costs={"malignant": {"benign": 8}, "benign": {"malignant": 0.5}}
    ),
}


def planned(*arguments: str) -> Plan:
    plans: list[Plan] = []
    run_sweeper(arguments, plans.append)
    return plans[0]


def test_the_argmax_leaves_no_trace():
    plain = planned("strategy=ce")
    # What this sweep was called before there were decisions.
    assert plain.sweep == planned("strategy=ce", "decision=argmax").sweep == "page_blocks-f9569be0"
    assert "decision" not in plain.studies[0].to_dict()
    assert plain.decision == Decision()


@pytest.mark.parametrize(("arguments", "decision"), DECISIONS.items(), ids=lambda each: str(each)[:60])
def test_a_decision_is_written_once_and_travels(arguments, decision):
    plan = planned(*TWO, *arguments)
    found = plan.decision
    assert (found.name, found.metric, found.at_least) == (decision.name, decision.metric, decision.at_least)
    assert found.cost_matrix(["benign", "malignant"]) == decision.cost_matrix(["benign", "malignant"])
    assert plan.sweep != planned(*TWO).sweep
    config = plan.studies[0].config
    assert Config.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert Study.from_stored(plan.studies[0].to_stored()) == plan.studies[0]
    assert build_part("decision", found.to_dict()) == found


def test_numbers_and_truth_values_are_names_of_classes():
    found = Decision("costs", costs={0: {1: 5}, True: {False: 2}})
    assert found.costs == (("0", "1", 5.0), ("true", "false", 2.0))
    assert found.cost_matrix(["0", "1", "2"]) == [[0, 5, 1], [1, 0, 1], [1, 1, 0]]


def test_less_of_a_cost_is_better():
    assert sign_of("test_decided_cost") == sign_of("test_argmax_cost") == -1
    assert sign_of("test_decided_f1[yes]") == sign_of("decision_threshold") == 1
