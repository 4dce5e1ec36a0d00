"""The typed errors of the whole package: each says what was expected, what was found, where, and what to do.

Only exception classes and the near-name helper live here. A rejected *row* is not an error: it is quarantined with
a reason (see `cv_quality.drops`).
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CvQualityError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(CvQualityError):
    """A setting is missing, malformed, or contradicts another one."""


class StoreError(CvQualityError):
    """An object could not be read from or written to the landing area, the lake or the registry."""


class ObjectUnusable(StoreError):
    """One object of a store cannot be used: it is absent, cut short, unreadable or unsafely named; others may be."""


class ObjectNotFound(ObjectUnusable):
    """The named object does not exist in the store."""


class SchemaError(CvQualityError):
    """A table's columns or types are not those that its schema declares."""


class StageError(CvQualityError):
    """Stages do not make a chain: a table without a writer or with two, an order that contradicts what is read."""


class MissingTable(CvQualityError):
    """A stage asked for a table that no earlier stage has written for that key."""


class UnknownKey(CvQualityError):
    """No drop and no build has the name that was asked about."""


class DamagedTable(CvQualityError):
    """A file of the lake is not the table that it was written as."""


class LakeChanged(CvQualityError):
    """What a stage reads or wrote was changed by somebody else while it worked, so its result is not judged."""


class DropError(CvQualityError):
    """A drop as a whole cannot be taken in: manifest, checksum, schema version or file set is wrong."""


class ForgettingError(CvQualityError):
    """A subject cannot be forgotten or exported, it cannot be told who is forgotten, or a receipt does not hold."""


class MappingError(CvQualityError):
    """What a mapping says of foreign logs is malformed, or does not fit the logs."""


class LayoutError(CvQualityError):
    """A folder of clips cannot be understood, a file in it is not what its place says, or two folders do not fit."""


class UnsafeObject(DropError):
    """An object of the landing area is not read: a link that leads outside, no regular file, or larger than allowed."""


class DropIncomplete(DropError):
    """A drop is not there as a whole, or not yet; nothing is said about what it holds."""


class FrameError(CvQualityError):
    """One image cannot be used.

    Attributes:
        reason: machine-readable code: "image_bomb", "corrupt_image", "unsupported_format", "missing_frame".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClipError(CvQualityError):
    """A clip cannot be decoded, or not further.

    Attributes:
        reason: machine-readable code: "not_a_file", "unsupported_format", "no_video", "corrupt_clip",
            "truncated_file", "clip_bomb", "decoder_stalled".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DecoderEnded(CvQualityError):
    """The process that decodes a clip was ended, by something else than the clip."""


class RegistryError(CvQualityError):
    """The model registry has no such build, or an entry of it is malformed."""


class ModelError(CvQualityError):
    """A model file is not what its registry entry promises, or is unsafe to load."""


class ModelDoesNotFit(ModelError):
    """The model's input or output shape disagrees with its registry entry."""


class GateFailed(CvQualityError):
    """A stage may not start: the gate before it failed, never ran, or judged other data."""


class ScenarioError(CvQualityError):
    """A simulation scenario is malformed."""


class MetricError(CvQualityError):
    """A metric was asked for input on which it is not defined."""


class DuplicateTrack(MetricError):
    """A track has two objects in one frame, so which of them is tracked is unknown.

    Attributes:
        frame, track: the first place where it has.
    """

    def __init__(self, message: str, *, frame: int, track: str) -> None:
        super().__init__(message)
        self.frame = frame
        self.track = track


class ScoreFileError(CvQualityError):
    """A file of scores cannot be read, or what it says is not clear enough to be evaluated.

    Attributes:
        file: the file, as it was named.
        line: the line (of text), row (of a table or array) or None where the file as a whole is meant; from 1.
    """

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class TableError(CvQualityError):
    """A table of any origin cannot be read, or what it says is not clear enough to be searched."""


class SliceError(CvQualityError):
    """A slice is malformed, or a table cannot be searched for slices, attributed or explained."""


class ProtocolError(CvQualityError):
    """A study's protocol is malformed, or contradicts itself."""


class PolicyError(CvQualityError):
    """A release policy cannot be read, asks for what is not measured, or no build could pass it."""


class LockError(CvQualityError):
    """A study is not locked, its protocol is not the locked one, or a lock cannot be made."""


class LookError(CvQualityError):
    """A look at a study's data is not one that its protocol has budgeted, or comes before the data."""


class AssignmentError(CvQualityError):
    """Subjects cannot be assigned as the protocol says, or a sheet is not the one that was begun."""


class MonitorError(CvQualityError):
    """A build cannot be watched as asked: what is claimed, whose attempts they are, or when they came does not fit."""


class QueryError(CvQualityError):
    """A question in SQL cannot be answered: it would change something, names what is not there, or is no SQL."""


class PublishingError(CvQualityError):
    """A product cannot be made of a build, or cannot be sent: it is not ready, or what it needs is not installed."""


class NothingToPublish(PublishingError):
    """A build has nothing that a product could be made of; its other products are published all the same."""


class ClusterError(CvQualityError):
    """A cluster cannot be used: it does not answer, has no workers, is gone, or a worker cannot do the work."""


class WorkerLost(CvQualityError):
    """The processes that worked on a key died, each time it was tried."""


class WarehouseError(CvQualityError):
    """The warehouse could not be built or published.

    Attributes:
        failed: (table, test, message) of every test or model that stood in the way.
    """

    def __init__(self, message: str, *, failed: tuple[tuple[str, str, str], ...] = ()) -> None:
        super().__init__(message)
        self.failed = failed


def stops_a_run(error: Exception) -> bool:
    """Tell whether an error keeps other keys from being done too: only a store that cannot be reached does."""
    return isinstance(error, StoreError) and not isinstance(error, ObjectUnusable)


def near(name: str, known: Iterable[str]) -> str:
    """Name the known names nearest to `name`, or all of them when none is near.

    >>> near("face-1.l", ["face-1.1", "iris-2.0"])
    'did you mean face-1.1?'
    """
    names = sorted(known)
    if not names:
        return "none is known"
    close = get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
