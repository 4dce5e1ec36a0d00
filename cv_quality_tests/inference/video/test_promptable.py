"""Objects are found by what is said of them, and a picture is encoded once, whatever is asked of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cv_quality.errors import ModelDoesNotFit, RegistryError
from cv_quality.inference.video.embeddings import EmbeddingCache
from cv_quality.inference.video.outputs import VideoModel
from cv_quality.inference.video.prompts import parse_prompts
from cv_quality_tests.inference.video.own_models import GREEN, RED, prompt_files, scene, square
from cv_quality_tests.inference.video.registries import digest, loaded

PICTURE = scene((8, 12, RED), (40, 24, GREEN))
PROMPTS: dict[str, Any] = {
    "streams": {"clip-1": [{"label": 7, "points": [[14, 18, 1]]}]},
    "scenes": {"yard": [{"label": 1, "points": [[14, 18, 1]]}, {"label": 2, "points": [[46, 30, 1], [50, 34, 1]]}]},
}


def promptable(
    folder: Path, prompts: dict[str, Any] | None = None, *, steps: tuple[Any, ...] = (), **changes: Any
) -> VideoModel:
    """The model with its prompts, more steps before it, and keys of `prompt` changed."""
    encoder, decoder = prompt_files(folder)
    asked = folder / "prompts.yaml"
    asked.write_text(json.dumps(prompts or PROMPTS))
    prompt = {
        "encoder": {"format": "torch_export", "file": str(encoder), "sha256": digest(encoder)},
        "embeddings": {"features": "output0"},
        "points": "points",
        "labels": "kinds",
        "file": "prompts.yaml",
        "sha256": digest(asked),
    }
    return loaded(
        folder,
        decoder,
        preprocessing=["rgb", *steps],
        postprocessing=[{"threshold": 0}],
        prompt=prompt | changes,
    )


def labels_of(model: VideoModel, *, stream: str = "", scene: str | None = None) -> Any:
    model.reset(stream=stream, scene=scene)
    [output] = model.run([PICTURE])
    assert output.status == "ok"
    return output.value


def embeddings(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "embeddings").glob("*"))


def test_a_stream_has_its_own_prompts_before_those_of_its_scene(tmp_path: Path) -> None:
    model = promptable(tmp_path)
    expected = square(8, 12) * 1 + square(40, 24) * 2
    np.testing.assert_array_equal(labels_of(model, stream="clip-2", scene="yard"), expected)
    np.testing.assert_array_equal(labels_of(model, stream="clip-1", scene="yard"), square(8, 12) * 7)
    model.reset(stream="clip-2", scene="elsewhere")
    assert [output.status for output in model.run([PICTURE, PICTURE])] == ["no_prompt", "no_prompt"]


def test_points_follow_the_picture_through_the_preprocessing(tmp_path: Path) -> None:
    prompts = {"default": [{"label": 3, "points": [[14 * 2, 18 * 2, 1]]}]}
    model = promptable(tmp_path, prompts, steps=({"resize": [64, 48]},))
    model.reset()
    [output] = model.run([PICTURE.repeat(2, axis=0).repeat(2, axis=1)])
    assert output.value is not None
    np.testing.assert_array_equal(output.value[::2, ::2], square(8, 12) * 3)


def test_a_box_is_its_corners_beside_the_points() -> None:
    content = {"default": [{"label": 3, "box": [8, 12, 16, 20], "points": [[9, 9, 0]]}]}
    [prompt] = parse_prompts(yaml.safe_dump(content).encode(), file="prompts.yaml").of("clip-1", None)
    assert prompt.points.tolist() == [[9, 9], [8, 12], [24, 32]]
    assert prompt.kinds.tolist() == [0, 2, 3]


def test_a_picture_is_encoded_once_for_all_prompts_and_runs(tmp_path: Path) -> None:
    labels_of(promptable(tmp_path), scene="yard")
    [kept] = embeddings(tmp_path)
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with np.load(kept) as stored:
        mirrored = {name: values[..., ::-1] for name, values in ((name, stored[name]) for name in stored.files)}
    with kept.open("wb") as file:
        np.savez(file, **mirrored)
    read = labels_of(promptable(tmp_path, {"default": [{"label": 1, "points": [[50, 18, 1]]}]}))
    np.testing.assert_array_equal(read, square(40, 12))


def test_a_damaged_embedding_is_made_again(tmp_path: Path) -> None:
    expected = labels_of(promptable(tmp_path), scene="yard")
    [kept] = embeddings(tmp_path)
    for damage in (b"", kept.read_bytes()[:-200], b"no numbers"):
        kept.write_bytes(damage)
        np.testing.assert_array_equal(labels_of(promptable(tmp_path), scene="yard"), expected)
        assert kept.stat().st_size > 200


def test_embeddings_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, encoder="one", max_bytes=20_000)
    made: list[int] = []

    def encode(picture: Any) -> dict[str, Any]:
        made.append(int(picture[0, 0, 0]))
        return {"x": np.zeros(1000, np.float32)}

    for level in (*range(8), 7, 0):
        cache.of(np.full((2, 2, 3), level, np.uint8), encode)
    assert made == [*range(8), 0]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000


def test_another_encoder_makes_its_own_embeddings(tmp_path: Path) -> None:
    for encoder, value in (("one", 1), ("two", 2)):
        cache = EmbeddingCache(tmp_path, encoder=encoder)
        for _ in range(2):
            found = cache.of(PICTURE, lambda _, value=value: {"x": np.array(value)})  # type: ignore[misc]
            assert found["x"] == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": "pionts"}, r"prompt\.points: no input 'pionts'; did you mean points"),
        ({"embeddings": {"features": "output9"}}, r"prompt\.embeddings: no output 'output9'"),
        ({"embeddings": {"feature": "output0"}}, r"prompt\.embeddings: no input 'feature'; did you mean features"),
        ({"zeros": ["mask"]}, r"prompt\.zeros: no input 'mask'"),
        ({"scores": "iou"}, r"prompt\.scores: no output 'iou'"),
    ],
)
def test_names_that_the_two_models_do_not_have_are_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelDoesNotFit, match=message):
        promptable(tmp_path, **changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected prompts under default, scenes, streams, found none"),
        ({"stream": {}}, "unknown key 'stream'; did you mean streams"),
        ({"default": []}, "default: expected a list of objects"),
        ({"default": [{"points": [[1, 2, 1]]}]}, r"default\[0\]: missing key 'label'"),
        ({"default": [{"label": 0, "points": [[1, 2, 1]]}]}, "label: expected a label from 1 to 255, found 0"),
        ({"default": [{"label": 1}]}, "expected points or a box, found neither"),
        ({"default": [{"label": 1, "points": [[1, 2]]}]}, r"points: expected a list of \[x, y, 1 of the object"),
        ({"default": [{"label": 1, "box": [0, 0, 0, 5]}]}, r"box: expected \[left, top, width, height\]"),
        ({"default": [{"label": 1, "box": [0, 0, 5, 5]}] * 2}, "expected each label once"),
    ],
)
def test_prompts_are_read_strictly(content: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError, match=r"prompts\.yaml.*" + message):
        parse_prompts(yaml.safe_dump(content).encode(), file="prompts.yaml")
