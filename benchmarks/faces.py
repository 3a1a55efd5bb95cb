"""How good faces, identity and expression are, on a folder of media with truth.

    python benchmarks/faces.py [FOLDER] [--json FILE]

`FOLDER` has `faces/` and `video/` as described in its README.
"""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from common import arguments, data_folder, show
from mien.actors import signals
from mien.actors.faces import FaceFinder
from mien.actors.identity import Identity
from mien.actors.tracks import Tracker
from mien.datasets.schema import LABELS, MEASURES
from mien.jobs.fusion import expression
from mien.jobs.fusion.people import people

Row = dict[str, Any]
Image8 = NDArray[np.uint8]
NAMES = {"happiness": "happy", "sadness": "sad", "anger": "angry", "neutral": "neutral"}
GRID = {
    "bbaf2n": "grid_m1",
    "lbax4n": "grid_m2",
    "pwij3p": "grid_m3",
    "swwp2s": "grid_m3",
    "sbia1a": "grid_m4",
    "brbk7n": "grid_f1",
    "lbbc2a": "grid_f2",
}


def picture(path: Path) -> Image8:
    """Read a picture upright."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def frames(path: Path, step: int = 1) -> Iterator[tuple[int, float, Image8]]:
    """Every `step`-th frame: its number, time and picture."""
    with av.open(path) as media:
        for index, frame in enumerate(media.decode(video=0)):
            if index % step == 0:
                image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                yield index, float(frame.time or 0), image


def truth(video: Path) -> dict[str, Any]:
    """The truth file beside a composite."""
    return json.loads(video.with_suffix(".truth.json").read_text())


def score(part: str, of: str, value: Any, n: int, aim: str = "") -> Row:  # noqa: ANN401
    """One line of the table."""
    return {"part": part, "set": of, "value": round(float(value), 4), "n": n, "aim": aim}


def counting(folder: Path, finder: FaceFinder, step: int = 5) -> list[Row]:
    """Share of frames and pictures whose number of faces is right."""
    out = []
    for video in sorted((folder / "video/composites").glob("*.mp4")):
        expected = len(truth(video).get("faces", [None]))
        right = [len(finder.detect(image)) == expected for _, _, image in frames(video, step)]
        out.append(score("face count right", video.stem, np.mean(right), len(right), ">= 0.98"))
    video = folder / "video/pyfeat/no_face.mp4"
    found = [len(finder.detect(image)) > 0 for _, _, image in frames(video)]
    out.append(score("frames with a false face", video.stem, np.mean(found), len(found), "<= 0.02"))
    with (folder / "faces/detection/face_counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = [
        len(finder.detect(picture(folder / "faces/detection" / row["file"]))) == int(row["faces"])
        for row in rows
    ]
    return [*out, score("face count right", "pictures", np.mean(right), len(right))]


def speed(folder: Path, finder: FaceFinder) -> list[Row]:
    """Milliseconds of processor time per call, on a close-up and on an empty picture."""
    out = []
    for name in ("composites/mixed_return_a1.mp4", "pyfeat/no_face.mp4"):
        images = [image for _, _, image in frames(folder / "video" / name, 10)]
        start = time.process_time()
        boxes = [finder.detect(image)[:, :4] for image in images]
        took = 1e3 * (time.process_time() - start) / len(images)
        out.append(score("ms per detect", Path(name).stem, took, len(images)))
        start = time.process_time()
        for image, faces in zip(images, boxes, strict=True):
            finder.mesh(image, faces)
        if count := sum(map(len, boxes)):
            took = 1e3 * (time.process_time() - start) / count
            out.append(score("ms per mesh", Path(name).stem, took, count))
    return out


def dense(video: Path, finder: FaceFinder) -> tuple[dict[str, NDArray[np.float64]], NDArray]:
    """Signals of every frame, faces from left to right, and which face each sample is."""
    times, who, values = [], [], []
    boxes = np.zeros((0, 4), np.float32)
    for _, time_s, image in frames(video):
        if not len(boxes):
            boxes = finder.detect(image)[:, :4]
            boxes = boxes[np.argsort(boxes[:, 0])]
        mesh = finder.mesh(image, boxes)
        times += [time_s] * len(mesh)
        who += range(len(mesh))
        values.append(signals.measure(mesh, (image.shape[1], image.shape[0])))
        boxes = signals.box(mesh) if np.isfinite(mesh).all() else np.zeros((0, 4), np.float32)
    table = np.concatenate(values).astype(np.float64)
    return dict(zip(MEASURES, table.T, strict=True)) | {"time_s": np.array(times)}, np.array(who)


def judged(columns: dict[str, NDArray[np.float64]], person: NDArray) -> NDArray[np.float64]:
    """Scores of signals."""
    base = expression.baseline(columns, person)
    return expression.scores(expression.action_units(columns, base))


def expressions(folder: Path, finder: FaceFinder) -> list[Row]:
    """Labelled stills (no baseline of their own) and a clip from neutral to happiness."""
    out, right = [], []
    with (folder / "faces/expression_stills/labels.csv").open() as file:
        for row in csv.DictReader(file):
            image = picture(folder / "faces/expression_stills" / row["file"])
            mesh = finder.mesh(image, finder.detect(image)[:1, :4])
            values = signals.measure(mesh, (image.shape[1], image.shape[0])).astype(np.float64)
            columns = dict(zip(MEASURES, values.T, strict=True)) | {"time_s": np.zeros(len(mesh))}
            scores = judged(columns, np.zeros(len(mesh), int))[0]
            said = LABELS[int(scores.argmax())]
            right.append(said == NAMES[row["label"]])
            out.append(score(f"still: {row['label']}", f"said {said}", scores.max(), 1))
    out.append(score("expression right", "stills", np.mean(right), len(right)))
    video = folder / "video/pyfeat/single_face.mp4"
    columns, person = dense(video, finder)
    said = judged(columns, person).argmax(axis=1)
    spans = json.loads((video.parent / "expression_truth.json").read_text())[video.name]
    for span in spans:
        inside = (columns["time_s"] >= span["start"]) & (columns["time_s"] < span["end"])
        wanted = LABELS.index(NAMES[span["label"]])
        out.append(
            score(
                "expression right",
                f"clip: {span['label']}",
                np.mean(said[inside] == wanted),
                int(inside.sum()),
            )
        )
    quiet = [judged(*dense(path, finder)) for path in sorted((folder / "video/grid").glob("*.mpg"))]
    calm = np.concatenate(quiet).argmax(axis=1) == LABELS.index("neutral")
    return [*out, score("neutral while speaking", "grid", calm.mean(), len(calm))]


def onscreen(folder: Path, finder: FaceFinder) -> list[Row]:
    """Who speaks in a two-shot: the face whose mouth moves most, at each sample of the turns."""
    out = []
    for video in sorted((folder / "video/composites").glob("grid_twoshot*.mp4")):
        columns, who = dense(video, finder)
        activity = expression.mouth_activity(columns, who).reshape(-1, 2)
        time_s = columns["time_s"].reshape(-1, 2)[:, 0]
        right = []
        for turn in truth(video)["turns"]:
            inside = (time_s >= turn["start"]) & (time_s < turn["end"])
            right += list(activity[inside].argmax(axis=1) == (turn["face"] == "right half"))
        out.append(score("on-screen speaker right", video.stem, np.mean(right), len(right)))
    return out


def faces_of(folder: Path, finder: FaceFinder) -> Iterator[tuple[str, str, bytes]]:
    """Person, source and crop of photographs and of one frame a second of short videos."""
    for path in sorted((folder / "faces/identity_gallery").glob("*/*")):
        image = picture(path)
        yield path.parent.name, "photo", signals.crop(image, largest(finder, image)[0])
    with (folder / "faces/identity_probe/labels.csv").open() as file:
        for row in csv.DictReader(file):
            image = picture(folder / "faces/identity_probe" / row["file"])
            names = row["people"].split(";")
            boxes = largest(finder, image)[: len(names)]
            for name, box in zip(names, boxes[np.argsort(boxes[:, 0])], strict=True):
                yield name, "photo", signals.crop(image, box)
    videos = [
        *sorted((folder / "video/grid").glob("*.mpg")),
        *sorted((folder / "video/expressive_face_T2").glob("*.mp4")),
        *sorted((folder / "video/talking_head_T2").glob("*.mp4")),
        folder / "video/pyfeat/single_face.mp4",
    ]
    for video in videos:
        for _, _, image in frames(video, 25):
            for box in largest(finder, image)[:1]:
                yield GRID.get(video.stem, video.stem), "video", signals.crop(image, box)


def largest(finder: FaceFinder, image: Image8) -> NDArray[np.float32]:
    """Boxes by size."""
    boxes = finder.detect(image)[:, :4]
    return boxes[np.argsort(-boxes[:, 2])]


def same_person(folder: Path, finder: FaceFinder, actor: Identity) -> list[Row]:
    """Area under the curve of "same person" by the cosine of two faces."""
    from sklearn.metrics import roc_auc_score

    names, sources, crops = zip(*faces_of(folder, finder), strict=True)
    vectors = np.array([actor.embed(crop) for crop in crops])
    first, second = np.triu_indices(len(names), 1)
    same = np.array(names)[first] == np.array(names)[second]
    cosine = (vectors @ vectors.T)[first, second]
    out = []
    for kind in ("photo", "video"):
        of = (np.array(sources)[first] == kind) & (np.array(sources)[second] == kind)
        out.append(
            score("same person, AUC", kind, roc_auc_score(same[of], cosine[of]), int(of.sum()))
        )
    return out


def persons(folder: Path, finder: FaceFinder, actor: Identity, step: int = 12) -> list[Row]:
    """Persons found in a video against the truth, and the share of faces given to the right one."""
    out = []
    for video in sorted((folder / "video/composites").glob("*.mp4")):
        facts, tracker = truth(video), Tracker()
        cuts = list(facts["hard_cut_frames"])
        times, tracks, vectors, names = [], [], [], []
        for index, time_s, image in frames(video, step):
            while cuts and index >= cuts[0]:
                cuts.pop(0)
                tracker.cut()
            boxes = finder.detect(image)[:, :4]
            for box, track in zip(boxes, tracker.update(time_s, boxes), strict=True):
                times.append(time_s)
                tracks.append(track)
                vectors.append(actor.embed(signals.crop(image, box)))
                names.append(shown(facts, index, float(box[0] + box[2] / 2)))
        found = people(
            span=np.zeros(len(times), int),
            track=np.array(tracks),
            time_s=np.array(times),
            embedding=np.array(vectors),
        )
        count = len(set(names))
        out.append(score("persons found", video.stem, found.count, count, f"= {count}"))
        index = np.unique(names, return_inverse=True)[1]
        pairs = (index[:, None] == index) == (found.face[:, None] == found.face)
        out.append(score("pairs of faces right", video.stem, pairs.mean(), len(names)))
    return out


def shown(facts: dict[str, Any], frame: int, x: float) -> str:
    """Whose face a composite shows at a frame and a place."""
    for shot in facts.get("shots", ()):
        if shot["start_frame"] <= frame < shot["end_frame"]:
            return shot["face"]
    inside = [f["face"] for f in facts["faces"] if 0 <= x - f["region"][0] < f["region"][2]]
    return inside[0]


def evaluate(folder: Path) -> list[Row]:
    """All scores."""
    start = time.perf_counter()
    finder, actor = FaceFinder(), Identity()
    finder.setup()
    ready = time.perf_counter() - start
    actor.setup()
    try:
        return [
            score("seconds to set up", "FaceFinder", ready, 1),
            *speed(folder, finder),
            *counting(folder, finder),
            *same_person(folder, finder, actor),
            *persons(folder, finder, actor),
            *expressions(folder, finder),
            *onscreen(folder, finder),
        ]
    finally:
        finder.close()
        actor.close()


def main() -> None:
    """Print the table."""
    asked = arguments(__doc__, folder={"bare": True, "nargs": "?", "type": Path})
    show("Faces", evaluate(asked.folder or data_folder()), asked.json)


if __name__ == "__main__":
    main()
