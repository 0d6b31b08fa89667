"""Linear maps that round each row in the same way for any number of rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as _linear
from torch.nn.functional import pad

MIN_ROWS = 16
"""The number of rows from which a matrix product rounds each row in the same way.

Below this number the libraries of some processors (AVX-512: up to 15 rows, AVX2: up to 3) choose
other kernels, so the bits of a crystal would depend on the size of its batch.
"""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x`` (…, K) times ``weight`` (N, K) transposed, plus ``bias`` (N,): (…, N).

    Fewer than MIN_ROWS rows are padded. Compiled training code skips this.
    """
    rows = x.shape[:-1].numel()
    if torch.compiler.is_compiling() or rows >= MIN_ROWS or rows == 0:
        return _linear(x, weight, bias)
    padded = pad(x.reshape(rows, -1), (0, 0, 0, MIN_ROWS - rows))
    return _linear(padded, weight, bias)[:rows].reshape(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """`torch.nn.Linear` that calls :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (…, N) from ``input`` (…, K)."""
        return linear(input, self.weight, self.bias)
