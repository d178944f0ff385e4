"""Numbers of the specification, which are those of cgroup v1, in the units of v2."""

from __future__ import annotations

_SHARES_MIN, _SHARES_MAX = 2, 262144
_WEIGHT_MAX = 10000
_ROUNDING = 1e-9  # a weight that is whole but for the arithmetic stays that


def number(value: int) -> str:
    """-1 becomes max, others stay"""
    return "max" if value < 0 else str(value)


def cpu_weight(shares: int) -> int:
    """⌈10^((l² + 125 l)/612 − 7/34)⌉ with l = log₂ shares: 2 becomes 1, 1024 becomes 100, 262144 becomes 10000"""
    if shares <= _SHARES_MIN:
        return 1
    if shares >= _SHARES_MAX:
        return _WEIGHT_MAX
    length = _log2(shares)
    weight = 10 ** ((length * length + 125 * length) / 612 - 7 / 34)
    whole = int(weight)
    return whole if weight - whole < _ROUNDING else whole + 1


def io_weight(weight: int) -> int:
    """1 + (weight − 10) · 9999/990, rounded down: 10 becomes 1, 1000 becomes 10000"""
    return 1 + (weight - 10) * 9999 // 990


def _log2(value: int) -> float:
    # The launcher has no math module. Each squaring of what lies beyond the whole part tells one binary digit.
    whole = value.bit_length() - 1
    rest = value / (1 << whole)
    result, digit = float(whole), 0.5
    while digit > 1e-15:
        rest *= rest
        if rest >= 2:
            rest /= 2
            result += digit
        digit /= 2
    return result
