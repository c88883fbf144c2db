"""An exponential moving average of a model's weights, on torch's AveragedModel."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(AveragedModel):
    """The average of the weights that `update_parameters` has seen; `module` is the averaged model.

    Running statistics of batch norms are averaged with the weights they belong to. Every other
    buffer is copied: averaging all of them (`use_buffers=True` of torch) turns integers such as an
    index of 7 into 7 * 0.999 + 7 * 0.001, cut off to 6, and infinities of a mask into NaN.

    Args:
        model: what is averaged; it is copied.
        decay: weight of the old average in each update.
        device: where the average is kept.
    """

    def __init__(self, model: nn.Module, decay: float, device: torch.device | None = None) -> None:
        super().__init__(model, device=device, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.decay = decay
        self.module.requires_grad_(False)
        self.module.eval()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of `model`; the first call copies them."""
        old = [] if self.n_averaged == 0 else [t.clone() for t in running_statistics(self.module)]
        super().update_parameters(model)
        for before, now in zip(old, running_statistics(self.module), strict=False):
            now.copy_(before.lerp(now, 1 - self.decay))


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of the batch and instance norms in `model`."""
    found = []
    for module in model.modules():
        if isinstance(module, _NormBase):
            found += [t for t in (module.running_mean, module.running_var) if t is not None]
    return found
