"""Synthetic speech for the sample clip, by the eSpeak NG library in `espeakng-loader`.

The library carries state from one sentence to the next. Each call therefore runs in a process of
its own, which makes the sound the same every time. eSpeak NG is under the GPL: nothing but the
demo uses it, and it is in the extra `demo`.
"""

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 22050
SYNCHRONOUS, DO_NOT_EXIT = 2, 0x8000  # enum espeak_AUDIO_OUTPUT; options of `espeak_Initialize`
UTF8, CHARACTERS = 1, 1  # flags and position type of `espeak_Synth`
RATE, PITCH = 1, 3  # enum espeak_PARAMETER
LIST_TERMINATED, WORD = 0, 1  # enum espeak_EVENT_TYPE
LOUD = 300  # of 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence and how to say it.

    Attributes:
        text: Plain English.
        voice: eSpeak's name, with a variant: `en-us+f5`.
        pitch: 0 to 100.
        rate_wpm: Words per minute, 80 to 450.
    """

    text: str
    voice: str
    pitch: int = 50
    rate_wpm: int = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What came out.

    Attributes:
        samples: `(samples,)` int16 mono at `RATE_HZ`, without silence around it.
        words: Start and stop, in seconds from the first sample, and the word in lower case.
    """

    samples: NDArray[np.int16]
    words: list[tuple[float, float, str]]


def speak(lines: Sequence[Line]) -> list[Spoken]:
    """Say some lines.

    Raises:
        RuntimeError: eSpeak NG failed, or is not installed; with what it said.
    """
    code = f"from {__name__} import answer; answer()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        input=json.dumps([asdict(line) for line in lines]).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"speech synthesis failed: {done.stderr.decode(errors='replace')}")
    header, _, samples = done.stdout.partition(b"\n")
    spoken, start = [], 0
    for size, words in json.loads(header):
        part = np.frombuffer(samples, np.int16, size, 2 * start)
        spoken.append(Spoken(samples=part, words=[tuple(word) for word in words]))
        start += size
    return spoken


def answer() -> None:
    """Speak the lines on standard input; sizes and words, then samples, on standard output."""
    lines = [Line(**line) for line in json.load(sys.stdin)]
    espeak = Espeak()
    spoken = [espeak.say(line) for line in lines]
    sys.stdout.write(json.dumps([(len(s.samples), s.words) for s in spoken]) + "\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(s.samples.tobytes() for s in spoken))


class Event(ctypes.Structure):
    """The C struct `espeak_EVENT`."""

    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


Samples = ctypes.POINTER(ctypes.c_short)
Callback = ctypes.CFUNCTYPE(ctypes.c_int, Samples, ctypes.c_int, ctypes.POINTER(Event))


class Espeak:
    """The C library; one per process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        rate_hz = self._library.espeak_Initialize(SYNCHRONOUS, 0, data, DO_NOT_EXIT)
        if rate_hz != RATE_HZ:
            raise RuntimeError(f"eSpeak NG must speak at {RATE_HZ} Hz, but answers {rate_hz}.")
        self._chunks: list[NDArray[np.int16]] = []
        self._starts: dict[int, float] = {}
        self._callback = Callback(self._receive)  # kept: C holds no reference
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def _receive(self, samples: Any, count: int, events: Any) -> int:  # noqa: ANN401
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        for event in events:
            if event.type == LIST_TERMINATED:
                return 0
            if event.type == WORD:
                self._starts[event.text_position - 1] = event.audio_position / 1000
        return 0

    def say(self, line: Line) -> Spoken:
        """Say one line."""
        self._chunks, self._starts = [], {}
        espeak, text = self._library, line.text.encode()
        failed = espeak.espeak_SetVoiceByName(line.voice.encode())
        failed |= espeak.espeak_SetParameter(RATE, line.rate_wpm, 0)
        failed |= espeak.espeak_SetParameter(PITCH, line.pitch, 0)
        size = ctypes.c_size_t(len(text) + 1)
        failed |= espeak.espeak_Synth(text, size, 0, CHARACTERS, 0, UTF8, None, None)
        if failed or not self._chunks:
            raise RuntimeError(f"eSpeak NG cannot say {line.text!r} with voice {line.voice!r}.")
        samples = np.concatenate(self._chunks)
        return Spoken(samples=samples, words=_words(line.text, samples, self._starts))


def _words(
    text: str, samples: NDArray[np.int16], starts: dict[int, float]
) -> list[tuple[float, float, str]]:
    """Times of words: each group that eSpeak marks ends with its last loud sample.

    eSpeak speaks short words in groups ("I am"): they share the time by their letters.

    Args:
        text: The sentence.
        samples: Its sound.
        starts: Start of a group in seconds by the position of its first letter in the text.
    """
    found = list(re.finditer(r"[\w']+", text))
    groups = [list(group) for group in _split(found, starts)]
    bounds = [starts[group[0].start()] for group in groups] + [len(samples) / RATE_HZ]
    words = []
    for group, start_s, stop_s in zip(groups, bounds[:-1], bounds[1:], strict=True):
        part = samples[round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)]
        loud = np.flatnonzero(np.abs(part.astype(np.int32)) > LOUD)
        length_s = (loud[-1] + 1) / RATE_HZ if loud.size else stop_s - start_s
        ends = np.cumsum([0, *(len(word.group()) for word in group)])
        times = start_s + length_s * ends / ends[-1]
        words += [
            (round(float(a), 3), round(float(b), 3), word.group().lower())
            for (a, b), word in zip(pairwise(times), group, strict=True)
        ]
    return words


def _split(words: list[re.Match[str]], starts: dict[int, float]) -> Iterator[list[re.Match[str]]]:
    """Groups of words, each beginning where eSpeak marked one."""
    group: list[re.Match[str]] = []
    for word in words:
        if group and word.start() in starts:
            yield group
            group = []
        group.append(word)
    yield group
