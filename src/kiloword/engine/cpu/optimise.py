"""Making a model draw fast on a CPU, by an explicit call: nothing else in kiloword changes a model that it is given.

What is done is said in `packed_linear.py` (Georganas et al. 2018).
"""

from kiloword.engine.cpu.packed_linear import pack_matrices
from kiloword.model import ImageModel


def optimise_for_cpu(model: ImageModel) -> ImageModel:
    """The same model, in evaluation mode and with packed matrices: its linear layers multiply with copies in blocks, as
    long as these take less than 1 GiB, and the weights themselves are stored with their longer side contiguous.

    The numbers stay what they are, and a checkpoint holds them as ever. Train a model before, not after: what an
    optimiser remembers has the layout of the weights that it was made for.

        painter = Painter(optimise_for_cpu(model), card)
    """
    pack_matrices(model)
    return model.eval()
