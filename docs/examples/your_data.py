"""Writes five kinds of data as teams have them into the working folder: the toys of docs/your-data.md.

    python docs/examples/your_data.py

`faces` holds toy pictures, a folder a person with folders of sessions in it; `conditions.csv` what is known of each.
`attempts.csv` is what a fleet logged, in which firmware 2.1 fails in the dark. `trials.txt` is a list of scored pairs.
`codes` holds iris codes of both eyes of everybody, and a name for each.
`clips` holds video files, a folder of masks beside each; `masks-old` and `masks-new` are what two segmenters made.
"""

import csv
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from cv_quality.drops.images import decode_labels
from cv_quality.simulation.conditions import benign_conditions
from cv_quality.simulation.identity import IdentitySpace, draw_people
from cv_quality.simulation.rendering import encode_png, render
from cv_quality.simulation.scenario_files import read_scenario
from cv_quality.simulation.video.footage import film_site
from cv_quality.simulation.video.scenario import parse_video_scenario

PEOPLE, IMAGES = 40, 10
USERS, ATTEMPTS = 80, 6_000
SPEAKERS, TRIALS = 40, 20_000
CODES, CODE = 3, (16, 64, 2)
CLIPS, FRAMES = 6, 36


def main() -> None:
    """Write all of them below the working folder."""
    write_faces(np.random.default_rng(1))
    write_attempts(np.random.default_rng(2))
    write_trials(np.random.default_rng(3))
    write_codes(np.random.default_rng(4))
    write_clips()


def write_faces(random):
    """Draw every person in two sessions; the first picture of each is taken in daylight."""
    is_first = np.arange(PEOPLE * IMAGES) % IMAGES == 0
    lux = np.where(is_first, 300, np.exp(random.uniform(np.log(3), np.log(300), len(is_first)))).round(1)
    people = np.repeat(draw_people(IdentitySpace.EVALUATION, seed=1, count=PEOPLE), IMAGES, axis=0)
    conditions = replace(benign_conditions(len(lux), seed=1), illuminance_lux=lux.astype(np.float32))
    rows = []
    for number, frame in enumerate(render(people, conditions)):
        person, image = divmod(number, IMAGES)
        path = Path(f"person-{person:02}", f"session-{image // 5 + 1}", f"{image:02}.png")
        Path("faces", path).parent.mkdir(parents=True, exist_ok=True)
        Path("faces", path).write_bytes(encode_png(frame))
        role = "reference" if is_first[number] else "probe"
        rows.append([path.as_posix(), lux[number], random.choice(["none", "glasses"]), role, "yes"])
    write_csv("conditions.csv", ["path", "illuminance_lux", "eyewear", "role", "consent"], rows, delimiter=",")


def write_attempts(random):
    """Log attempts as a phone's support team exports them: semicolons, decimal commas, words for results."""
    start, rows = datetime(2026, 9, 1, 8), []
    for number in range(ATTEMPTS):
        lux, firmware = float(np.exp(random.uniform(0.7, 6.7))), str(random.choice(["2.0", "2.1", "2.2"]))
        fails = random.random() < (0.45 if firmware == "2.1" and lux < 20 else 0.03)
        score = random.normal(0.35 if fails else 0.75, 0.06)
        at = start + timedelta(minutes=7 * number)
        rows.append(
            [
                f"{at:%Y-%m-%d %H:%M:%S}",
                f"user-{number % USERS:03}",
                f"phone-{number % USERS % 9}",
                f"aurora-{number % USERS % 9 % 2 + 1}",
                firmware,
                f"{lux:.1f}".replace(".", ","),
                f"{random.normal(24, 6):.1f}".replace(".", ","),
                f"{score:.4f}".replace(".", ","),
                "OK" if score >= 0.5 else "REJECT",
            ]
        )
    names = ["time", "user", "phone", "model", "firmware", "lux", "temperature", "score", "result"]
    write_csv("attempts.csv", names, rows, delimiter=";")


def write_trials(random):
    """List pairs with their label first, as VoxCeleb does, and their score last."""
    lines = []
    for number in range(TRIALS):
        is_same = number % 10 == 0
        one = int(random.integers(SPEAKERS))
        other = one if is_same else (one + 1 + int(random.integers(SPEAKERS - 1))) % SPEAKERS
        score = random.normal(0.6 if is_same else 0.1, 0.15)
        lines.append(f"{int(is_same)} id{one:03}/a/{number}.wav id{other:03}/b/{number}.wav {score:.4f}\n")
    Path("trials.txt").write_text("".join(lines))


def write_codes(random):
    """Encode every eye a few times: some of its bits differ each time, and some cannot be seen."""
    names = [f"id{who:02}_{eye}_{n}" for who in range(PEOPLE) for eye in "LR" for n in range(1, CODES + 1)]
    eyes = random.random((2 * PEOPLE, *CODE)) < 0.5
    shape = (len(names), *CODE)
    seen = random.uniform(0.5, 1, (len(names), 1, 1, 1))
    codes = np.repeat(eyes, CODES, axis=0) ^ (random.random(shape) < random.uniform(0.1, 0.4, (len(names), 1, 1, 1)))
    Path("codes").mkdir()
    np.save("codes/codes.npy", codes)
    np.save("codes/masks.npy", random.random(shape) < seen)
    Path("codes/names.txt").write_text("\n".join(names))


def write_clips():
    """Film moving objects; the old segmenter's masks lie a pixel off, the new one's are right but two frames late."""
    text, where = read_scenario("video-demo")
    scenario = replace(parse_video_scenario(text, where=where), dropped_clips=0, repeated_clips=0, frozen_clips=0)
    site = replace(scenario.sites[0], clips=CLIPS, fast_share=0.5)
    for clip in film_site(replace(scenario, frames=FRAMES), site, seed=1):
        Path("clips", clip.name).mkdir(parents=True)
        Path("clips", f"{clip.name}.mp4").write_bytes(clip.video)
        masks = [decode_labels(mask) for mask in clip.masks]
        for number, mask in enumerate(masks):
            Path("clips", clip.name, f"{number:05}.png").write_bytes(clip.masks[number])
            results = {"masks-old": np.roll(mask, 1, axis=1), "masks-new": masks[max(0, number - 2)]}
            for folder, result in results.items():
                Path(folder, clip.name).mkdir(parents=True, exist_ok=True)
                Path(folder, clip.name, f"{number:05}.png").write_bytes(encode_png(result))


def write_csv(name, header, rows, *, delimiter):
    """Write a table."""
    with open(name, "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


if __name__ == "__main__":
    main()
