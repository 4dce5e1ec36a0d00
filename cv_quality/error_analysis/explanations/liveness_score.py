"""The score of a liveness model as a function of its input, which the maps of `saliency` explain as they explain pairs.

Of a softmax it is a tenth of the log-odds of bona fide: where a model is sure its share hardly moves any more, and no
map could say why; a tenth, as then it has the reach of a cosine, for which the tolerances of maps are made. Which
presentations are explained is decided in `cv_quality.tasks.liveness.explanations`.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from cv_quality.error_analysis.explanations.pair_score import PairScore, module_score, onnx_score
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.inference.registry import ModelRegistry, verified_bytes
from cv_quality.inference.torch_graph import load_program

if TYPE_CHECKING:
    import torch

LOG_ODDS_SCALE: Final = 10.0
ONE_MODEL: Final = "the score is the mean of several models that see different parts of the frame: it has no one map"


def load_explained_liveness(entry: LivenessEntry, *, registry: ModelRegistry) -> PairScore | None:
    """Load the model of a build for explanations, through the same checks as for inference.

    Args:
        entry, registry: of the build, and where its file lies.

    Returns:
        Its score, without references; None where the build has several models (`ONE_MODEL`).

    Raises:
        ModelError: a file is missing, altered, unsafe or unreadable.
    """
    if len(entry.models) > 1:
        return None
    (model,) = entry.models
    data = verified_bytes(registry.model_file(model), sha256=model.sha256)
    compare = partial(log_odds, bona_fide=entry.bona_fide)
    if model.format == "torch_export":
        return module_score(load_program(data, name=model.file).module(), compare=compare)
    return onnx_score(data, name=model.file, threads=1, compare=compare)


def log_odds(outputs: "torch.Tensor", references: "torch.Tensor", *, bona_fide: int | None) -> "torch.Tensor":  # noqa: ARG001 - as pairs are compared
    """Compute what is explained of outputs `[n, k]`: a tenth of the log-odds of one, or the one number.

    Args:
        outputs: of the model.
        references: of which there are none.
        bona_fide: which output of a softmax is bona fide; None for a scalar.
    """
    import torch

    outputs = outputs.reshape(len(outputs), -1)
    if bona_fide is None:
        return outputs[:, 0]
    others = torch.cat([outputs[:, :bona_fide], outputs[:, bona_fide + 1 :]], dim=1)
    return (outputs[:, bona_fide] - torch.logsumexp(others, dim=1)) / LOG_ODDS_SCALE
