"""How the class of a tile was learnt, in plain sentences."""

from pathray.evaluation.probe import NEIGHBOURS
from pathray.finetuning.result import RunResult


def tile_model(result: RunResult) -> str:
    """What became of a tile's pixels."""
    made = result.embeddings
    tiles = f"Tiles of {made['tile_size']} pixels" if made.get("tile_size") else "Tiles"
    dim = f" of {made['dim']} numbers" if made.get("dim") else ""
    encoder = made.get("encoder") or "an encoder without a name"
    if result.settings.get("method") == "full":
        return (
            f"The whole encoder {encoder} was trained on, with a linear layer that turns its "
            f"vector{dim} into a class. {tiles} were turned and flipped at random in training."
        )
    described = f"{tiles} were each described by a vector{dim} ({encoder}, as it was: frozen)"
    if result.settings.get("method") == "knn":
        return f"{described}; the {NEIGHBOURS} nearest training tiles by cosine told the class."
    return f"{described}; logistic regression on the standardised vectors told the class."


def tile_steering(result: RunResult) -> str:
    """What the validation groups were for."""
    if result.settings.get("method") == "full":
        return "to decide when to stop"
    return "that were left out (a probe has nothing to decide)"
