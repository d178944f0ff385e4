"""What a container's record says is in force after an update."""

from __future__ import annotations

from capsule.runtime import updating

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_C = {"allow": True, "type": "c", "access": "rwm"}
DENY_B = {"allow": False, "type": "b", "access": "rwm"}


def test_device_rules_are_one_ordered_list_that_is_replaced() -> None:
    before = {"devices": [DENY_ALL], "pids": {"limit": 5}}
    after = updating.merge(before, {"devices": [DENY_ALL, ALLOW_C, DENY_B]})
    assert after == {"devices": [DENY_ALL, ALLOW_C, DENY_B], "pids": {"limit": 5}}
    assert updating.merge(after, {"devices": []}) == after


def test_limits_of_another_device_stay() -> None:
    one, other = {"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 16, "rate": 2}
    changed = {**one, "rate": 3}
    merged = updating.merge({"blockIO": {"throttleReadBpsDevice": [one, other]}},
                            {"blockIO": {"throttleReadBpsDevice": [changed]}})
    assert merged == {"blockIO": {"throttleReadBpsDevice": [changed, other]}}
