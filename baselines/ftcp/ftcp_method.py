"""Reconstruction, generation and optimization with FTCP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from baselines.ftcp.ftcp_config import FTCPConfig
from baselines.ftcp.ftcp_decoding import decode
from baselines.ftcp.network import FTCPNetwork
from baselines.ftcp.representation import represent
from cdvae.data.dataset import CrystalDataset
from cdvae.data.process_map import Progress
from cdvae.inference import crystal_seed

CHUNK = 256
OPTIMISATION_STEPS = 5000
LEARNING_RATE = 1e-3
DECODE_AFTER = (*range(1, OPTIMISATION_STEPS, 555), OPTIMISATION_STEPS)
"""Gradient steps after which z is decoded: 11 decodings, as in the paper's code."""


@dataclass(frozen=True)
class FTCPMethod:
    """A trained FTCP on the CPU; a crystal is None if it could not be decoded."""

    config: FTCPConfig
    card: Mapping[str, Any]
    network: FTCPNetwork  # in evaluation mode

    @property
    def properties(self) -> tuple[str, ...]:
        """The outputs of the target branch, in their order."""
        return tuple(self.config.properties)

    def reconstruct(
        self, data: CrystalDataset, seed: int, progress: Progress | None = None
    ) -> list[Structure | None]:
        """Return the crystals decoded from the posterior means; ``seed`` is not used.

        The result is None for a crystal with more sites or elements than the matrix holds.
        """
        fits = self.config.layout.fits(data.crystals)
        mean, _ = self._encode(data.select(fits.nonzero().squeeze(-1)))
        decoded = iter(self._decode(mean, progress))
        return [next(decoded) if fit else None for fit in fits.tolist()]

    def generate(
        self, n: int, seed: int, progress: Progress | None = None
    ) -> list[Structure | None]:
        """Return the crystals of ``n`` latents from N(0, I)."""
        return self._decode(self._normal(n, seed), progress)

    def optimize(
        self, data: CrystalDataset, prop: str, seed: int, progress: Progress | None = None
    ) -> list[list[Structure | None]]:
        """Return the decodings from each start while ``prop`` is minimized.

        z is drawn from the posterior of the start; Adam then follows the target branch. Steps and
        decodings are those of Xie et al. (2022).

        Raises:
            ValueError: there is no such property, or a crystal does not fit the matrix.
        """
        if prop not in self.properties:
            raise ValueError(f"no property {prop!r}; there are {', '.join(self.properties)}")
        mean, logvar = self._encode(data)
        start = mean + (0.5 * logvar).exp() * self._normal(len(data), seed)
        z = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([z], lr=LEARNING_RATE)
        stations = []
        for step in range(1, OPTIMISATION_STEPS + 1):
            adam.zero_grad(set_to_none=True)
            self.network.predict(z)[:, self.properties.index(prop)].sum().backward()
            adam.step()
            if step in DECODE_AFTER:
                stations.append(self._decode(z.detach()))
            if progress:
                progress(step, OPTIMISATION_STEPS)
        return [list(decodings) for decodings in zip(*stations, strict=True)]

    def _normal(self, n: int, seed: int) -> Tensor:
        rngs = (torch.Generator().manual_seed(crystal_seed(seed, i)) for i in range(n))
        return torch.stack([torch.randn(self.config.latent_dim, generator=rng) for rng in rngs])

    @torch.no_grad()
    def _encode(self, data: CrystalDataset) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, D) of the posteriors."""
        parts = []
        for rows in torch.arange(len(data)).split(CHUNK):
            matrices = represent(data.crystals.select(rows), self.config.layout)
            parts.append(self.network.encode(self.network.scale(matrices)))
        means, logvars = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(logvars)

    @torch.no_grad()
    def _decode(self, latents: Tensor, progress: Progress | None = None) -> list[Structure | None]:
        structures: list[Structure | None] = []
        for chunk in latents.split(CHUNK):
            matrices = self.network.unscale(self.network.decode(chunk)).mT.numpy()
            structures += [decode(matrix, self.config.layout) for matrix in matrices]
            if progress:
                progress(len(structures), len(latents))
        return structures
