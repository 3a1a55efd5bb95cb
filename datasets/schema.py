"""The columns of every table: one declared Arrow schema each.

Times are seconds from the start of the media (float64), spans half-open. Boxes are pixels
`x, y, w, h` in the upright source frame. What is unknown is null, never zero.
"""

import pyarrow as pa

VERSION = 1
"""Raised when a column changes its meaning; part of every table's hash."""

F32, F64, I32, I64, TEXT = pa.float32(), pa.float64(), pa.int32(), pa.int64(), pa.string()


def rows(*fields: tuple[str, pa.DataType]) -> pa.DataType:
    """A nested column: a list of records."""
    return pa.list_(pa.struct(fields))


KEY = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),  # uuid5 of the source and the span
        pa.field("video_id", TEXT, nullable=False),
        pa.field("uri", TEXT, nullable=False),
        pa.field("start_s", F64),
        pa.field("stop_s", F64),
    ]
)

OUTCOME = pa.schema(
    [
        pa.field("status", TEXT, nullable=False),  # ok | failed
        ("error_stage", TEXT),  # the actor that failed
        ("error_type", TEXT),
        ("error_message", TEXT),
        pa.field("attempt", I32, nullable=False),  # 1 for the first
        pa.field("config_hash", TEXT, nullable=False),
        ("models", rows(("role", TEXT), ("model", TEXT), ("revision", TEXT), ("licence", TEXT))),
        ("timings", rows(("stage", TEXT), ("seconds", F64))),
    ]
)

# ------------------------------------------------------------------------------- videos: a video
PROBE = pa.schema(
    [
        ("duration_s", F64),
        ("container", TEXT),
        ("size_bytes", I64),
        ("fingerprint", TEXT),  # of the content: size, head and tail
        ("has_video", pa.bool_()),
        ("codec", TEXT),
        ("pix_fmt", TEXT),
        ("width", I32),  # upright, that is after rotation
        ("height", I32),
        ("rotation_deg", I32),  # 0, 90, 180 or 270, clockwise, already undone in `width`, `height`
        ("fps", F64),  # average
        ("variable_fps", pa.bool_()),
        ("has_audio", pa.bool_()),
        ("audio_codec", TEXT),
        ("audio_rate_hz", I32),
        ("audio_channels", I32),
        ("streams", I32),
    ]
)

# -------------------------------------------------------------------------------- sound: a video
SOUND = pa.schema([("sound_uri", TEXT)])  # the enhanced sound, beside the original; null: no sound

# -------------------------------------------------------------------------------- turns: a video
# All null where the video has no sound; empty where it has sound and nobody speaks.
SPEECH_ACTIVITY = pa.schema([("speech", rows(("start_s", F64), ("stop_s", F64)))])

TURN = (("start_s", F64), ("stop_s", F64), ("speaker", TEXT))  # SPEAKER_00, SPEAKER_01, ...
TURNS = pa.schema(
    [
        ("turns", rows(*TURN)),  # may overlap
        ("exclusive_turns", rows(*TURN)),  # at most one speaker at a time: use it to label words
        ("speakers", rows(("speaker", TEXT), ("speech_s", F64), ("embedding", pa.list_(F32)))),
    ]
)

# ------------------------------------------------------------- speech: a chunk of at most 30 s
TRANSCRIPT = pa.schema(
    [
        ("language", TEXT),
        (
            "segments",
            rows(
                ("start_s", F64),
                ("stop_s", F64),
                ("text", TEXT),
                ("avg_logprob", F32),
                ("compression_ratio", F32),
                ("no_speech_prob", F32),
                ("rejected", TEXT),  # why the hallucination filter dropped it; null: kept
            ),
        ),
        # words of kept segments only
        (
            "words",
            rows(("start_s", F64), ("stop_s", F64), ("word", TEXT), ("probability", F32)),
        ),
    ]
)

# --------------------------------------------------- watch: a span of video of at most a minute
BOX = (("x", F32), ("y", F32), ("w", F32), ("h", F32))
MEASURES = (
    "yaw",  # head pose, degrees; 0 faces the camera; positive: to the subject's left
    "pitch",  # positive: up
    "roll",  # positive: clockwise in the picture
    "eye_left",  # eye aspect ratio; "left" is the subject's
    "eye_right",
    "gaze_h",  # iris between the eye's corners, mean of both eyes; 0.5: centre; 1: subject's left
    "gaze_v",  # iris between the lids; 0.5: centre; 1: down
    "mouth_open",  # inner lips' gap over inner mouth width
    "mouth_width",  # corner to corner / distance of the outer eye corners, as all that follow
    "smile",  # mouth corners above the middle between the lips (positive: up)
    "smile_skew",  # left corner's lift minus right corner's
    "jaw_drop",  # nose base to chin
    "lip_raise",  # nose base to upper lip; small: raised
    "lip_height",  # red of both lips; small: pressed or rolled in
    "brow_inner",  # inner brow above the eye's inner corner
    "brow_outer",
    "brow_gap",  # between the inner brow ends
    "nose_wrinkle",  # brow root to nose wing; small: wrinkled
    "asymmetry",  # mean distance of mirrored pairs
)
FRAME = (
    ("time_s", F64),
    ("reason", TEXT),  # start | cut | base | face | speech | action
    ("motion", F32),  # mean absolute luma change since the previous frame, 0-1
    ("thumbnail", pa.binary()),  # JPEG
)
FACE = (
    ("frame", I32),  # index into `frames`
    ("time_s", F64),
    *BOX,
    ("score", F32),
    ("track", I32),  # one person between two cuts; unique in the row
    ("quality", F32),  # 0-1: size, sharpness, frontality
    ("crop", pa.binary()),  # JPEG, square, upright
)
SIGNAL = (("time_s", F64), ("track", I32), *BOX, *((name, F32) for name in MEASURES))
WATCH = pa.schema(
    [
        ("cuts", rows(("time_s", F64), ("detector", TEXT), ("score", F32))),  # first frame after
        ("frames", rows(*FRAME)),
        ("faces", rows(*FACE)),  # on the sampled frames
        ("signals", rows(*SIGNAL)),  # per tracked face, at `signals_hz`
        ("n_frames", I32),  # decoded in the span
        ("warning", TEXT),  # what was wrong and survived, for example a truncated end
    ]
)
IDENTITY = pa.schema([("face_embeddings", pa.list_(pa.list_(F32)))])  # parallel to `faces`

# ----------------------- faces: a watched span; what models say of the faces and frames kept there
# Lists parallel to `faces` of the same row of table `watch`; null where a crop is missing.
RESTORED = pa.schema([("face_quality", pa.list_(F32)), ("restored", pa.list_(pa.bool_()))])
FACE_EMOTIONS = pa.schema([("face_emotions", pa.list_(pa.list_(F32)))])  # in the order of `LABELS`
MATCHES = pa.schema(  # the nearest person of the gallery, by cosine distance (0-2); null: none near
    [("face_matches", rows(("name", TEXT), ("distance", F32)))]
)
LAION_FACE = pa.schema(
    [
        ("laion_face", pa.list_(pa.list_(F32))),  # raw scores, about 0-7, as `LAION_FACE_NAMES`
        ("laion_face_adjusted", pa.list_(pa.list_(F32))),  # less the neutral mean; null: unknown
        ("laion_face_warning", TEXT),  # of the calibration
    ]
)
ACTIONS = pa.schema(  # per clip the likeliest actions, best first; scores are probabilities
    [
        (
            "actions",
            rows(
                ("start_s", F64),
                ("stop_s", F64),
                ("labels", rows(("label", TEXT), ("score", F32))),
            ),
        )
    ]
)

# --------------- micro: a watched span; brief movements of its faces, looked for in every frame
MICRO = pa.schema(
    [
        (
            "candidates",  # in order of time; empty: looked, and found none
            rows(
                ("track", I32),  # of `signals` of the same span of table `watch`
                ("onset_s", F64),  # the first frame in motion
                ("apex_s", F64),
                ("offset_s", F64),  # the last
                ("region", TEXT),  # brows | eyes | mouth
                ("part", TEXT),  # the part of it that moves most, `actors.face_motion.REGIONS`
                ("peak", F32),  # how far, as a share of the distance of the outer eye corners
                ("clear", F32),  # how many times it stands out from what surrounds it
                *BOX,  # the face at the apex
            ),
        ),
        ("face_s", F64),  # how long faces were followed, each face counted
        ("micro_warning", TEXT),  # the frame rate, where it is low
    ]
)

# ------------------------------------------- segments: a span of sound, as `segmentation` cuts it
LAION_VOICE = pa.schema(
    [
        ("laion_voice", pa.list_(F32)),  # 40 emotions, 0-4, as `LAION_VOICE_NAMES`
        ("laion_voice_attributes", pa.list_(F32)),  # each in its own range, `LAION_VOICE_RANGES`
        ("laion_voice_quality", pa.list_(F32)),  # 4, `LAION_VOICE_QUALITY`; null without the heads
    ]
)

# --------------------------------------------------------------------- notes: a moment of a video
MOMENT = pa.schema(
    [
        ("kind", TEXT),  # flag | keyframe | no_face | facs: which question is asked
        ("reason", TEXT),  # why it was chosen, for example the flag's type
        ("speaker", TEXT),
        ("text", TEXT),  # what is said in it
        ("context", TEXT),  # JSON: what the other models found there
    ]
)
PICTURES = pa.schema([("pictures", rows(("time_s", F64), ("jpeg", pa.binary())))])
NOTE = pa.schema(
    [
        ("answer", TEXT),  # JSON, valid against the schema of its kind
        ("summary", TEXT),
        ("emotion", TEXT),  # of the canonical seven, or null
        ("confidence", F32),  # 0-1, the model's own word
        ("prompt", TEXT),  # name and digest of the prompt
        ("input_tokens", I64),
        ("output_tokens", I64),
        ("cached_tokens", I64),
        ("dollars", F64),  # 0 for a local model; null: unknown
        ("request_id", TEXT),
        ("answered_by", TEXT),  # the model, as the server names it
    ]
)

# ----------------------------------------------- voice: an utterance, what the audio and text say
UTTERANCE_TEXT = pa.schema([("speaker", TEXT), ("text", TEXT)])
PROSODY = pa.schema(
    [
        ("pitch_hz", F32),  # median of voiced frames
        ("pitch_range_st", F32),  # 5th to 95th percentile, semitones
        ("energy_db", F32),  # mean of speech frames, dBFS
        ("energy_range_db", F32),
        ("voiced_ratio", F32),
        ("speech_rate_hz", F32),  # words per second of the utterance
        ("pause_ratio", F32),  # share of the utterance that is silent
        ("pauses", I32),  # silences of at least 0.25 s inside it
    ]
)
VOICE_AFFECT = pa.schema(  # 0-1 each, as the audeering model: null where a model gives none
    [("arousal", F32), ("dominance", F32), ("valence", F32)]
)
TEXT_AFFECT = pa.schema(
    [
        ("text_polarity", F32),  # -1 to 1
        ("text_scores", rows(("label", TEXT), ("score", F32))),  # the canonical seven, or null
    ]
)

# ---------------- features of a micro-expression clip: what networks see of it (`actors/clip_flow`)
CLIP_FLOW = pa.schema(
    [
        ("flow_input", pa.binary()),  # PNG, RGB: grey apex, onset to apex, offset to apex
        ("flow_strain", pa.binary()),  # PNG, grey: strain from onset to apex
        ("flow_directions", pa.list_(F32)),  # onset to apex, px: block by block, by direction
        ("flow_peak_px", F32),  # the longest way from onset to apex
        ("strain_peak", F32),
        ("apex_used", I32),  # index of the frame
        ("apex_rule", TEXT),  # given | middle | flow | strain
    ]
)

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The canonical seven emotions, in DeepFace's order."""
