"""Names the layouts of folders of clips; nothing is imported for it, so that a command line can list them at once.

They are read in `cv_quality.drops.importers.video_folders`.
"""

from collections.abc import Mapping
from typing import Final, Literal

VideoLayout = Literal["davis", "cdnet", "mot", "videos", "frames"]
LAYOUTS: Final[Mapping[VideoLayout, str]] = {
    "davis": "DAVIS: JPEGImages and Annotations, a folder for each clip",
    "cdnet": "CDnet: input and groundtruth of each clip",
    "mot": "MOTChallenge: boxes as text",
    "videos": "video files, masks or boxes of the same name beside them",
    "frames": "a folder, or a tar file, of pictures for each clip",
}
