"""The registry entry of a video build says no precisely: file, key, what was expected, and the near name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cv_quality.errors import RegistryError
from cv_quality.inference.framing import CentreCrop, Letterbox, ResizeShort
from cv_quality.inference.preprocessing import Bgr, Levels
from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.video.entry import EncoderEntry, PromptEntry, RecordedVideoEntry, VideoEntry
from cv_quality.inference.video.postprocessing import Argmax, ToPicture
from cv_quality.tasks.video.modality import VIDEO_MODALITY

DIGEST = "0" * 64
ENTRY: dict[str, Any] = {
    "build_id": "seg-1",
    "modality": "video",
    "follows": None,
    "format": "onnx",
    "file": "seg.onnx",
    "sha256": DIGEST,
    "output": "mask",
    "preprocessing": ["rgb", {"resize": [513, 513]}, "levels"],
}
PROMPT: dict[str, Any] = {
    "encoder": {"format": "onnx", "file": "encoder.onnx", "sha256": DIGEST},
    "embeddings": {"image_embeddings": "features"},
    "points": "point_coords",
    "labels": "point_labels",
    "file": "prompts.yaml",
    "sha256": DIGEST,
}
RECORDED = {key: ENTRY[key] for key in ("build_id", "modality", "follows", "output")} | {"recorded": True}


def entry_of(folder: Path, fields: dict[str, Any]) -> Any:
    (folder / "seg-1.yaml").write_text(yaml.safe_dump(fields))
    return ModelRegistry(str(folder), modalities={"video": VIDEO_MODALITY}).entry("seg-1")


def test_a_video_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    changes = {
        "preprocessing": [
            "bgr",
            {"resize_short": 256},
            {"centre_crop": [224, 200]},
            {"letterbox": [320, 320]},
            "levels",
        ],
        "postprocessing": [{"resize": "bilinear"}, "argmax"],
        "layout": "nhwc",
        "output_name": "logits",
        "classes": {"car": 7, "vehicle": [6, 14]},
        "states": {"memory_in": "memory_out"},
        "requirement": 0.7,
    }
    entry = entry_of(tmp_path, ENTRY | changes)
    assert isinstance(entry, VideoEntry)
    assert entry.preprocessing == (Bgr(), ResizeShort(256), CentreCrop(224, 200), Letterbox(320, 320), Levels())
    assert entry.postprocessing == (ToPicture("bilinear"), Argmax())
    assert (entry.layout, entry.output_name, entry.requirement) == ("nhwc", "logits", 0.7)
    assert entry.classes == {"car": (7,), "vehicle": (6, 14)}
    assert (entry.states, entry.task, entry.model_sha256) == ({"memory_in": "memory_out"}, "video", DIGEST)


def test_a_promptable_entry_has_a_digest_of_all_its_files(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, ENTRY | {"prompt": PROMPT | {"zeros": ["mask_input"], "scores": "iou"}})
    assert entry.prompt == PromptEntry(
        encoder=EncoderEntry("onnx", "encoder.onnx", DIGEST),
        embeddings={"image_embeddings": "features"},
        points="point_coords",
        labels="point_labels",
        file="prompts.yaml",
        sha256=DIGEST,
        zeros=("mask_input",),
        scores="iou",
    )
    other = entry_of(tmp_path, ENTRY | {"prompt": PROMPT | {"sha256": "1" * 64}})
    assert len({entry.model_sha256, other.model_sha256, DIGEST}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "masks"}, r"output: expected mask or .*found 'masks'; did you mean mask"),
        ({"layuot": "nhwc"}, r"unknown key 'layuot'; did you mean layout\? \(a build of modality video\)"),
        ({"layout": "hwc"}, r"layout: expected nchw or nhwc, found 'hwc'"),
        ({"preprocessing": ["rgb", "level"]}, r"preprocessing\[1\]: unknown step 'level'; did you mean levels"),
        (
            {"preprocessing": [{"crop": [0, 0, 10, 0]}]},
            r"preprocessing\[0\]\.crop: expected \[left, top, width, height\]",
        ),
        (
            {"preprocessing": [{"letterbox": {"size": [9, 9], "align": "left"}}]},
            r"letterbox\.align: expected centre or",
        ),
        ({"postprocessing": ["argmx"]}, r"postprocessing\[0\]: unknown step 'argmx'; did you mean argmax"),
        ({"postprocessing": ["unit_length"]}, r"unit_length: a step of output embedding, found output 'mask'"),
        ({"postprocessing": ["argmax", {"threshold": 1}]}, r"expected one of argmax and threshold, found both"),
        ({"postprocessing": [{"threshold": "high"}]}, r"threshold: expected a finite number, found 'high'"),
        (
            {"postprocessing": [{"resize": "cubic"}]},
            r"resize: expected nearest or nearest_exact or bilinear or none, found 'cubic'",
        ),
        ({"output": "landmarks"}, r"postprocessing: expected one step 'landmarks:"),
        ({"output": "depth", "classes": {"car": 1}}, r"classes: labels are of output mask, found output 'depth'"),
        ({"classes": {"car": 256}}, r"classes\.car: expected a label from 0 to 255, or a list of them, found 256"),
        ({"classes": {"car": 7, "bus": [6, 7]}}, r"classes\.car: label 7 is of class 'bus' too"),
        ({"states": ["a"]}, r"states: expected names of outputs by names of inputs, found \['a'\]"),
        ({"states": {"a": "x", "b": "x"}}, r"states: expected each output once"),
        ({"requirement": 2}, r"requirement: expected a quality from 0 to 1, found 2"),
        ({"prompt": PROMPT, "states": {"a": "x"}}, r"states: a promptable model has none"),
        ({"prompt": PROMPT | {"encoder": {"format": "onnx"}}}, r"prompt\.encoder: missing key 'file', 'sha256'"),
        ({"prompt": PROMPT | {"point": "p"}}, r"prompt: unknown key 'point'; did you mean points"),
        ({"prompt": PROMPT | {"embeddings": {}}}, r"prompt: embeddings: expected outputs of the encoder by inputs"),
    ],
)
def test_what_is_wrong_in_a_video_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError, match=r"seg-1\.yaml: .*" + message):
        entry_of(tmp_path, ENTRY | changes)


def test_a_recorded_video_build_has_an_output_and_no_model(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, RECORDED | {"classes": {"car": 1}, "requirement": 0.9})
    assert isinstance(entry, RecordedVideoEntry)
    assert (entry.output, entry.classes, entry.requirement, entry.sha256) == ("mask", {"car": (1,)}, 0.9, None)
    registry = ModelRegistry(str(tmp_path), modalities={"video": VIDEO_MODALITY})
    assert registry.is_recorded("seg-1")
    for change, message in (
        ({"file": "a.onnx"}, r"file: a build that is evaluated as recorded has no model"),
        ({"output": None}, r"output: expected mask or"),
        ({"decision_threshold": 1}, r"unknown key 'decision_threshold'"),
    ):
        with pytest.raises(RegistryError, match=message):
            entry_of(tmp_path, RECORDED | change)
