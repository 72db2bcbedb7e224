"""What a training step computes, for the share of a GPU's arithmetic that it uses (MFU)."""

from torch.utils.flop_counter import FlopCounterMode

from pathray.pretraining.objective import Objective, Views


def flops_per_image(objective: Objective, views: Views) -> float:
    """Floating-point operations of one image forward and backward, frozen networks included.

    Matrix products, convolutions and attention are counted, as they run on these views; a
    multiplication with its addition is two. For an objective that is not wrapped yet. Leaves
    no gradients, and the codebook as it was.
    """
    training = objective.training
    objective.eval()
    with FlopCounterMode(display=False) as counter:
        objective(views)["loss"].backward()
    objective.zero_grad(set_to_none=True)
    objective.train(training)
    return counter.get_total_flops() / len(views.pixels)
