"""Enhancement: what DeepFilterNet does to speech in white noise.

Speech is mixed with white noise at several ratios, written as a file, and sent through the actor as
a run would send it. The scale-invariant signal-to-distortion ratio (Le Roux et al. 2019) of the
answer stands beside that of the mixture, in dB, mean over the clips. Clear recordings and a meeting
in a reverberant room stand apart. Needs the weights (`make setup` carries them).

    python benchmarks/enhance.py [DATA] [--json FILE]
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common import arguments, data_folder, show
from mien.actors.deepfilter import DeepFilterNet
from mien.datasets import audio

RATIOS_DB = (0, 5, 15)
MOST_S = 20.0


def ratio_db(answer: NDArray[np.float32], speech: NDArray[np.float32]) -> float:
    """Scale-invariant signal-to-distortion ratio."""
    answer, speech = answer - answer.mean(), speech - speech.mean()
    wanted = speech * (answer @ speech) / (speech @ speech)
    return float(10 * np.log10((wanted @ wanted) / ((answer - wanted) @ (answer - wanted))))


def main() -> None:
    """Print the table."""
    asked = arguments(
        __doc__, data={"bare": True, "nargs": "?", "type": Path, "default": data_folder()}
    )
    clear = sorted((asked.data / "asr").rglob("*.flac")) + sorted(
        (asked.data / "asr").rglob("*.wav")
    )
    sets = {
        "clear speech": clear,
        "meeting": sorted((asked.data / "diarization/ami").glob("*.wav")),
    }
    rng, rows = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as place:
        actor = DeepFilterNet(folder=f"{place}/answers")
        if actor.missing():
            raise SystemExit(actor.missing())
        actor.setup()
        for name, files in sets.items():
            for noise_db in RATIOS_DB:
                before, after = [], []
                for i, path in enumerate(files):
                    speech = audio.read(str(path), 0.0, MOST_S)
                    if speech is None or not speech.any():
                        continue
                    noise = rng.standard_normal(len(speech)).astype(np.float32)
                    noise *= np.sqrt((speech @ speech) / (noise @ noise) / 10 ** (noise_db / 10))
                    mixed = speech + noise
                    loud = max(1.0, float(np.abs(mixed).max()))
                    file = Path(place) / f"{name}-{i}-{noise_db}.flac"
                    audio.write(file, [mixed / loud])
                    made = actor.process(pa.table({"uri": [str(file)], "has_audio": [True]}))
                    answer = audio.read(made["sound_uri"][0].as_py(), 0.0, len(speech) / 16000)
                    assert answer is not None
                    before.append(ratio_db(mixed, speech))
                    after.append(ratio_db(answer, speech))
                means = {"before dB": float(np.mean(before)), "after dB": float(np.mean(after))}
                worst = float(np.min(np.subtract(after, before)))
                facts = {"speech": name, "clips": len(before), "noise at dB": noise_db}
                rows.append({**facts, **means, "worst gain dB": worst})
    show("DeepFilterNet 3, white noise", rows, asked.json)


if __name__ == "__main__":
    main()
