"""Expressions and facial events from signals alone: rules, no model.

A face is compared with its owner's calm face. Deviations become proxies of action units (they are
geometry, not the coding of a trained observer), and these make seven scores by the rules of EMFACS
(Friesen and Ekman, 1983).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS, MEASURES

Signals = Mapping[str, NDArray[np.floating]]
"""Columns of SIGNAL records by name, one array each: at least `time_s` and the `MEASURES`."""
Event = dict[str, Any]

UNITS = (
    *("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU10", "AU12"),
    *("AU15", "AU20", "AU23", "AU25", "AU26"),
)
"""The columns of `action_units`."""

POPULATION: Mapping[str, tuple[float, float]] = {
    "eye": (0.28, 0.05),
    "mouth_open": (0.02, 0.03),
    "mouth_width": (0.53, 0.03),
    "smile": (0.01, 0.012),
    "smile_skew": (0.0, 0.015),
    "jaw_drop": (0.74, 0.06),
    "lip_raise": (0.185, 0.025),
    "lip_height": (0.18, 0.02),
    "brow_inner": (0.21, 0.03),
    "brow_outer": (0.21, 0.025),
    "brow_gap": (0.295, 0.014),
    "nose_wrinkle": (0.56, 0.035),
}
"""The calm face: median over people and standard deviation between them, of 16 videos."""

CALM = 0.3  # share of a person's samples, the calmest, that make the baseline
PRIOR = 15  # samples that the population's calm face counts for
NOISE = 0.25  # of the population's spread: what stays uncertain about a face well known
YAW_DEG = 25.0  # faces turned further do not make a baseline


def baseline(signals: Signals, person: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
    """The calm face of the person of each sample.

    It is the median of the calmest samples, those nearest to the population's calm face, so that a
    person who smiles most of the time is not neutral when smiling. Few samples are shrunk towards
    the population.

    Args:
        signals: Columns of `(n,)`.
        person: `(n,)` persons; negative: unknown, who gets the population's calm face.

    Returns:
        By measure of `POPULATION` two columns, `name` and `name_spread` (how uncertain it is),
        and `samples`, the number behind them; `(n,)` each.
    """
    face = expressive(signals)
    scale = {name: (face[name] - mean) / sd for name, (mean, sd) in POPULATION.items()}
    unrest = np.sqrt(np.nanmean(np.square([*scale.values(), np.zeros(len(person))]), axis=0))
    known = np.isfinite(face["eye"]) & (np.abs(signals["yaw"]) < YAW_DEG)
    out = {name: np.full(len(person), mean) for name, (mean, _) in POPULATION.items()}
    out |= {f"{name}_spread": np.full(len(person), sd) for name, (_, sd) in POPULATION.items()}
    out["samples"] = np.zeros(len(person))
    for who in np.unique(person[person >= 0]):
        mine = person == who
        samples = np.flatnonzero(mine & known)
        if not len(samples):
            continue
        calm = samples[np.argsort(unrest[samples], kind="stable")]
        calm = calm[: max(round(CALM * len(samples)), 1)]
        trust = len(calm) / (len(calm) + PRIOR)
        for name, (mean, sd) in POPULATION.items():
            own = np.median(face[name][calm])
            out[name][mine] = trust * own + (1 - trust) * mean
            out[f"{name}_spread"][mine] = sd * max(np.sqrt(1 - trust), NOISE)
        out["samples"][mine] = len(samples)
    return out


def action_units(signals: Signals, base: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
    """Proxies of action units: how far a face has left its calm state, beyond doubt.

    Args:
        signals: Columns of `(n,)`.
        base: From `baseline`.

    Returns:
        `(n, len(UNITS))`, 0-1; NaN where the face was not measured.
    """
    face = expressive(signals)

    def up(name: str, full: float, sign: float = 1.0) -> NDArray[np.float64]:
        change = sign * (face[name] - base[name]) - base[f"{name}_spread"]
        return np.clip(change / full, 0, 1)

    def down(name: str, full: float) -> NDArray[np.float64]:
        return up(name, full, -1.0)

    smile = np.sqrt(up("smile", 0.05) * up("mouth_width", 0.12))
    narrow = down("eye", 0.06)
    inner, gap = down("brow_inner", 0.03), down("brow_gap", 0.015)
    opened = up("mouth_open", 0.15)
    units = {
        "AU1": up("brow_inner", 0.04),
        "AU2": up("brow_outer", 0.04),
        "AU4": np.clip(0.5 * inner + 0.5 * gap + 0.5 * np.sqrt(inner * gap), 0, 1),
        "AU5": up("eye", 0.08),
        "AU6": np.sqrt(smile * narrow),
        "AU7": narrow * (1 - smile),
        "AU9": down("nose_wrinkle", 0.04) * (1 - smile),
        "AU10": down("lip_raise", 0.03) * (1 - smile),
        "AU12": smile,
        "AU15": down("smile", 0.03),
        "AU20": up("mouth_width", 0.1) * (1 - up("smile", 0.05)),
        "AU23": down("lip_height", 0.03) * (1 - opened),
        "AU25": opened,
        "AU26": up("jaw_drop", 0.08),
    }
    return np.column_stack([units[name] for name in UNITS])


def scores(units: NDArray[np.floating]) -> NDArray[np.float64]:
    """Seven emotions from action units by EMFACS rules.

    Happiness 6+12, sadness 1+4+15, surprise 1+2+5+26, fear 1+2+4+5+7+20+26, anger 4+5+7+23, disgust
    9+15+16; the necessary unit of a rule weighs more than its companions. Neutral takes what the
    rules leave.

    Args:
        units: `(n, len(UNITS))`.

    Returns:
        `(n, 7)` in the order of `LABELS`; rows sum to 1; NaN for NaN.
    """
    au = dict(zip(UNITS, np.asarray(units, np.float64).T, strict=True))
    brows = np.sqrt(au["AU1"] * au["AU2"])
    rules = {
        "angry": au["AU4"] * (0.5 + 0.5 * np.maximum.reduce([au["AU5"], au["AU7"], au["AU23"]])),
        "disgust": au["AU9"] * (0.3 + 0.7 * np.maximum(au["AU10"], au["AU15"])),
        "fear": np.cbrt(np.maximum(brows, au["AU4"]) * au["AU5"] * au["AU20"]),
        "happy": au["AU12"] * (0.8 + 0.2 * au["AU6"]),
        "sad": au["AU15"] * (0.5 + 0.5 * np.maximum(au["AU1"], au["AU4"])),
        "surprise": np.sqrt(brows * np.maximum(au["AU5"], au["AU26"])),
    }
    table = np.column_stack([rules[name] for name in LABELS[:-1]])
    table = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return np.column_stack([table, np.maximum(1 - table.sum(axis=1), 0)])


def confidence(
    signals: Signals,
    base: Mapping[str, NDArray[np.floating]],
    quality: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """How far a sample's scores can be trusted.

    Args:
        signals: Columns of `(n,)`.
        base: From `baseline`.
        quality: `(n,)`, 0-1, where it is known.

    Returns:
        `(n,)`, 0-1: falls with the yaw (to 0 at 60 degrees) and pitch, the quality, and few samples
        behind the baseline (a still has half); 0 where the face was not measured.
    """
    front = np.clip(np.cos(1.5 * np.radians(np.clip(np.abs(signals["yaw"]), 0, 60))), 0, 1)
    level = np.clip(np.cos(1.5 * np.radians(np.clip(np.abs(signals["pitch"]), 0, 60))), 0, 1)
    known = 0.5 + 0.5 * base["samples"] / (base["samples"] + PRIOR / CALM)
    product = front * level * known * (1.0 if quality is None else quality)
    return np.where(np.isfinite(signals["eye_left"]), np.nan_to_num(product), 0.0)


def mouth_activity(
    signals: Signals, group: NDArray[np.integer], *, window_s: float = 0.4
) -> NDArray[np.float64]:
    """How much the mouth moves as in speech.

    Args:
        signals: Columns of `(n,)`, with `mouth_open` and `jaw_drop`.
        group: `(n,)`: tracks or persons; each is taken alone.
        window_s: Length of the window around each sample.

    Returns:
        `(n,)`: local standard deviation of the mouth's opening plus three times that of the jaw;
        NaN where the window holds fewer than two samples. Still mouths are below 0.02, speaking
        ones mostly above 0.05.
    """
    out = np.full(len(group), np.nan)
    for rows in each(signals, group):
        time_s = signals["time_s"][rows]
        first = np.searchsorted(time_s, time_s - window_s / 2 - 1e-9)
        stop = np.searchsorted(time_s, time_s + window_s / 2 + 1e-9)
        spread = [
            local_std(np.asarray(signals[name][rows], np.float64), first, stop)
            for name in ("mouth_open", "jaw_drop")
        ]
        out[rows] = spread[0] + 3 * spread[1]
    return out


def local_std(
    values: NDArray[np.float64], first: NDArray[np.integer], stop: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Standard deviation of `values[first[i]:stop[i]]`, NaN left out; NaN below two values."""
    seen = np.isfinite(values)
    centred = np.where(seen, values - (values[seen].mean() if seen.any() else 0.0), 0.0)
    sums = [np.concatenate([[0.0], np.cumsum(column)]) for column in (seen, centred, centred**2)]
    count, total, squares = (column[stop] - column[first] for column in sums)
    mean = total / np.maximum(count, 1)
    variance = np.maximum(squares / np.maximum(count, 1) - mean**2, 0)
    return np.where(count >= 2, np.sqrt(variance), np.nan)


def expressive(signals: Signals) -> dict[str, NDArray[np.float64]]:
    """The measures of `POPULATION`, float64; `eye` is the mean of both."""
    face = {name: np.asarray(signals[name], np.float64) for name in MEASURES if name in POPULATION}
    face["eye"] = (
        np.asarray(signals["eye_left"], np.float64) + np.asarray(signals["eye_right"], np.float64)
    ) / 2
    return face


def each(signals: Signals, group: NDArray[np.integer]) -> Iterator[NDArray[np.intp]]:
    """The rows of each known group (not negative), in time."""
    order = np.lexsort((np.asarray(signals["time_s"]), group))
    order = order[np.asarray(group)[order] >= 0]
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(np.asarray(group)[order])) + 1)


# ------------------------------------------------------------------------------------- events
BLINK_HZ = 15.0
"""Slower sampling misses blinks."""


def events(signals: Signals, person: NDArray[np.integer]) -> list[Event]:
    """All events below, by time: `{type, person, start_s, stop_s, confidence, value}`."""
    found = [
        *(blinks(signals, person) or ()),
        *gaze_aversions(signals, person),
        *head_gestures(signals, person),
        *asymmetries(signals, person),
    ]
    return sorted(found, key=lambda event: (event["start_s"], event["person"], event["type"]))


def blinks(signals: Signals, person: NDArray[np.integer]) -> list[Event] | None:
    """Eyes closed for 50 to 400 ms: aspect ratio below 0.75 of the person's median.

    Returns:
        Events, `value` being the least ratio; `None` where nobody was sampled at 15 Hz or more.
    """
    eye = expressive(signals)["eye"]
    found: list[Event] = []
    fast = False
    for rows in each(signals, person):
        time_s = signals["time_s"][rows]
        if not len(rows) > 2 or np.median(np.diff(time_s)) > 1.05 / BLINK_HZ:
            continue
        fast = True
        median = np.nanmedian(eye[rows]) if np.isfinite(eye[rows]).any() else np.nan
        ratio = eye[rows] / median
        for first, stop, start_s, stop_s in runs(ratio < 0.75, time_s):
            if 0.05 <= stop_s - start_s <= 0.4 and first > 0 and stop < len(rows):
                least = float(np.min(ratio[first:stop]))
                sure = float(np.clip((0.85 - least) / 0.5, 0, 1))
                found.append(event("blink", int(person[rows[0]]), start_s, stop_s, sure, least))
    return found if fast else None


def gaze_aversions(signals: Signals, person: NDArray[np.integer]) -> list[Event]:
    """Eyes turned aside by more than 0.15 of the eye's width from the person's median, for 0.3 s.

    `value` is the mean deviation; positive: to the subject's left.
    """

    def away(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        gaze = np.asarray(signals["gaze_h"][rows], np.float64)
        return gaze - np.nanmedian(gaze) if np.isfinite(gaze).any() else gaze

    return sustained("gaze_aversion", signals, person, away, least=0.15, hold_s=0.3)


def asymmetries(signals: Signals, person: NDArray[np.integer]) -> list[Event]:
    """One mouth corner lifted, for 0.3 s, in a face that is not turned away (|yaw| < 20).

    `value` is the mean skew against the person's calm face; positive: the subject's left corner.
    """
    skew = np.asarray(signals["smile_skew"], np.float64)
    skew = np.where(np.abs(signals["yaw"]) < 20, skew - baseline(signals, person)["smile_skew"], 0)
    return sustained(
        "asymmetric_expression", signals, person, lambda rows: skew[rows], least=0.06, hold_s=0.3
    )


def head_gestures(
    signals: Signals, person: NDArray[np.integer], *, least_deg: float = 3.0
) -> list[Event]:
    """Nods and shakes: three or more swings of pitch or yaw in a row, at most 0.6 s apart.

    `value` is the mean swing in degrees.
    """
    from scipy.signal import find_peaks

    found: list[Event] = []
    for rows in each(signals, person):
        time_s = signals["time_s"][rows]
        for name, angle in (("nod", "pitch"), ("shake", "yaw")):
            values = np.asarray(signals[angle][rows], np.float64)
            if len(rows) < 5 or not np.isfinite(values).all():
                values = np.nan_to_num(values, nan=float(np.nanmean(np.append(values, 0.0))))
            peaks = [find_peaks(sign * values, prominence=least_deg)[0] for sign in (1, -1)]
            turns = np.sort(np.concatenate(peaks))
            gaps = np.flatnonzero(np.diff(time_s[turns]) > 0.6) + 1
            for group in np.split(turns, gaps):
                swings = np.abs(np.diff(values[group]))
                if len(group) >= 3 and swings.min() >= least_deg:
                    size = float(swings.mean())
                    sure = float(np.clip(size / 10, 0, 1))
                    ends = float(time_s[group[0]]), float(time_s[group[-1]])
                    found.append(event(name, int(person[rows[0]]), *ends, sure, size))
    return found


def sustained(
    kind: str,
    signals: Signals,
    person: NDArray[np.integer],
    deviation: Callable[[NDArray[np.intp]], NDArray[np.float64]],
    *,
    least: float,
    hold_s: float,
) -> list[Event]:
    """Events where a deviation stays beyond `least`, on one side, for `hold_s` or longer."""
    found: list[Event] = []
    for rows in each(signals, person):
        values = deviation(rows)
        for sign in (1, -1):
            for first, stop, start_s, stop_s in runs(
                sign * values > least, signals["time_s"][rows]
            ):
                if stop_s - start_s >= hold_s:
                    mean = float(np.mean(values[first:stop]))
                    sure = float(np.clip(abs(mean) / (2 * least), 0, 1))
                    found.append(event(kind, int(person[rows[0]]), start_s, stop_s, sure, mean))
    return found


def runs(
    inside: NDArray[np.bool_], time_s: NDArray[np.floating]
) -> Iterator[tuple[int, int, float, float]]:
    """Stretches of true samples: first, stop (exclusive), and the times half a sample beyond.

    A gap of more than three sample intervals ends a stretch.
    """
    if len(inside) < 2:
        return
    step = float(np.median(np.diff(time_s)))
    broken = np.concatenate([[False], np.diff(time_s) > 3 * step])
    label = np.cumsum(np.concatenate([[True], inside[1:] != inside[:-1]]) | broken)
    for part in np.split(np.arange(len(inside)), np.flatnonzero(np.diff(label)) + 1):
        if inside[part[0]]:
            yield (
                int(part[0]),
                int(part[-1]) + 1,
                float(time_s[part[0]]) - step / 2,
                float(time_s[part[-1]]) + step / 2,
            )


def event(
    kind: str, person: int, start_s: float, stop_s: float, confidence: float, value: float
) -> Event:
    """One event as a record."""
    return {
        "type": kind,
        "person": person,
        "start_s": start_s,
        "stop_s": stop_s,
        "confidence": confidence,
        "value": value,
    }
