from typing import Any

import pytest

from mien.jobs.sweep.domains import (
    Choice,
    Integer,
    LogUniform,
    Uniform,
    flattened,
    override,
    written,
)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Uniform, {"low": 2, "high": 1}, r"`low` must be less than `high` \(1\), but is 2"),
        (Uniform, {"low": 0.0, "high": float("inf")}, "must be finite"),
        (LogUniform, {"low": 0.0, "high": 1.0}, "`low` of a LogUniform must be greater than 0"),
        (Integer, {"low": 0, "high": 9, "log": True}, "must be at least 1 where `log` is true"),
        (Choice, {"of": [1]}, r"at least 2 values, each once, but is \[1\]"),
        (Choice, {"of": ["a", "b", "a"]}, "each once"),
    ],
)
def test_a_domain_refuses_bounds_that_make_none(
    kind: type, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Uniform(low=0, high=1), [0, 0.5, 1.0], [-0.1, 1.1, None, True, "0.5", float("nan")]),
        (Integer(low=1, high=3), [1, 3, 2.0], [0, 4, 1.5, None]),
        (Choice(of=[1, None, ["text", "audio"]]), [1, None, ["text", "audio"]], [True, ["text"]]),
    ],
)
def test_a_domain_knows_its_values(domain: Any, inside: list, outside: list) -> None:  # noqa: ANN401
    assert all(domain.holds(value) for value in [*inside, *domain.ends()])
    assert not any(domain.holds(value) for value in outside)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 0.1, 1e-5, -2.5e-7, ["text", "audio"], [0.3, 0.4], []),
        *("a b", "it's", "null", "1e3", "", "x/y.z", "ünïcode", "a=b,c", "a\\b\\'c\\"),
    ],
)
def test_what_is_written_for_the_command_line_reads_as_the_same_value(value: Any) -> None:  # noqa: ANN401
    """Hydra's own parser is the judge."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (parsed,) = OverridesParser.create().parse_overrides([override("key", value)])
    assert parsed.value() == value
    assert isinstance(parsed.value(), type(value))


def test_a_space_is_nested_as_the_configuration_is() -> None:
    domain = Uniform(low=0, high=1)
    assert flattened({"a": {"b": domain, "c.d": domain}}) == {"a.b": domain, "a.c.d": domain}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "at least one parameter"),
        ({"a": {"low": 0, "high": 1}}, r"`sweep.space.a.low` must be a Uniform"),
    ],
)
def test_a_space_holds_domains_and_at_least_one(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flattened(space)


def test_lists_are_written_as_hydra_reads_them() -> None:
    assert written([1, None, "a b"]) == "[1,null,'a b']"
