"""CHGNet's network as a function of pair vectors, with the weights of its package.

The package builds its graphs in Python and differentiates twice, for forces and for the stress.
Here all graphs of a batch are index arrays, one differentiation by the pair vectors gives both, and
the first layer of each message is split: a linear map of concatenated features is the sum of the
maps of its parts, so atoms and bonds are mapped before they are gathered, not once for each
message. Energies agree with the package's to the rounding of single precision.

Source: Deng et al., Nature Machine Intelligence 5, 1031 (2023); chgnet 0.4.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad, silu

from cdvae.linear import linear
from cdvae.stability.atom_graph import AtomGraph

BOND_CUTOFF = 3.0
"""Å; shorter pairs are bonds, and two bonds of an atom form an angle."""


class _GatedMessage:
    """A gated perceptron of concatenated features, with a separate map for each part.

    Args:
        mlp: `chgnet.model.functions.GatedMLP`.
        parts: how many features of width D are concatenated.
    """

    def __init__(self, mlp: Any, parts: int) -> None:
        core, gate = _linears(mlp.mlp_core), _linears(mlp.mlp_gate)
        weight = torch.cat([core[0].weight, gate[0].weight]).detach()  # (2D, parts · D)
        self.weights = [part.contiguous() for part in weight.chunk(parts, dim=1)]
        self.bias = torch.cat([core[0].bias, gate[0].bias]).detach()
        self.second = [(one.weight.detach(), one.bias.detach()) for one in (*core[1:], *gate[1:])]
        self.norms = [(one.weight.detach(), one.bias.detach()) for one in (mlp.bn1, mlp.bn2)]

    def part(self, index: int, features: Tensor) -> Tensor:
        """Return the share (R, 2D) of part ``index``, whose features are (R, D)."""
        return linear(features, self.weights[index])

    def finish(self, hidden: Tensor) -> Tensor:
        """Return the messages (M, D) from the sum of all parts (M, 2D)."""
        halves: tuple[Tensor, ...] = (hidden + self.bias).chunk(2, dim=1)
        if self.second:
            maps = zip(halves, self.second, strict=True)
            halves = tuple(linear(silu(half), *layer) for half, layer in maps)
        core, gate = (
            layer_norm(half, half.shape[1:], *norm)
            for half, norm in zip(halves, self.norms, strict=True)
        )
        return silu(core) * torch.sigmoid(gate)


class ChgnetNetwork:
    """CHGNet's energy as a function of pair vectors.

    Args:
        model: `chgnet.model.model.CHGNet`; its weights are shared, not copied.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.requires_grad_(False)
        self.atom_messages = [_GatedMessage(one.twoBody_atom, 3) for one in model.atom_conv_layers]
        self.bond_messages = [_GatedMessage(one.twoBody_bond, 4) for one in model.bond_conv_layers]
        self.angle_messages = [_GatedMessage(one.twoBody_bond, 4) for one in model.angle_layers]

    @property
    def cutoff(self) -> float:
        """Å; pairs that are farther apart do not interact."""
        return float(self.model.graph_converter.atom_graph_cutoff)

    @property
    def num_elements(self) -> int:
        """Atomic numbers from 1 to this one are known."""
        return int(self.model.composition_model.max_num_elements)

    def energies(self, graph: AtomGraph, vector: Tensor) -> Tensor:
        """Return (S,) eV, in double.

        Args:
            graph: S structures with P pairs.
            vector: (P, 3) Å, single; the pair vectors to differentiate by.
        """
        model, num_pairs = self.model, len(vector)
        center = torch.cat([graph.first, graph.second])  # (2P,): each pair in both directions
        neighbor = torch.cat([graph.second, graph.first])
        length = _dot(vector, vector).sqrt()
        basis = self._radial(model.bond_basis_expansion.rbf_expansion_ag, length)
        bond = linear(basis, model.bond_embedding.weight)
        weight = linear(basis, model.bond_weights_ag.weight)
        weight = torch.cat([weight, weight])

        short = (length.detach() < BOND_CUTOFF).nonzero().squeeze(1)  # (Q,) the bonds
        place, left, right = _angles(center, short, num_pairs)
        unit = vector.index_select(0, short) / length.index_select(0, short)[:, None]
        # CHGNet's vectors point from the neighbor to the center; both signs cancel in the cosine.
        unit = torch.cat([unit, -unit])
        cosine = _dot(unit.index_select(0, left), unit.index_select(0, right)) * (1 - 1e-6)
        angle = linear(self._fourier(cosine), model.angle_embedding.weight)
        short_basis = self._radial(
            model.bond_basis_expansion.rbf_expansion_bg, length.index_select(0, short)
        )
        short_weight = linear(short_basis, model.bond_weights_bg.weight)
        left, right = left % max(len(short), 1), right % max(len(short), 1)
        angle_weight = short_weight.index_select(0, left) * short_weight.index_select(0, right)

        atom = model.atom_embedding.embedding.weight[graph.atomic_numbers - 1]
        layers = len(self.atom_messages)
        for layer in range(layers):
            message = self.atom_messages[layer]
            own = message.part(0, atom).index_select(0, center)
            pair = message.part(1, bond)
            hidden = own + torch.cat([pair, pair]) + message.part(2, atom).index_select(0, neighbor)
            sent = message.finish(hidden) * weight
            total = torch.zeros_like(atom).index_add(0, center, sent)
            atom = atom + linear(total, _linears(model.atom_conv_layers[layer].mlp_out)[0].weight)
            if layer == layers - 1 or not len(left):
                continue
            sent = self._angle_part(
                self.bond_messages[layer], atom, bond.index_select(0, short), angle, place
            )
            sent = sent * angle_weight
            received = torch.zeros_like(bond.index_select(0, short)).index_add(0, left, sent)
            changed = linear(received, _linears(model.bond_conv_layers[layer].mlp_out)[0].weight)
            bond = bond.index_add(0, short, changed)
            if layer < layers - 2:  # the last update of the angles is never read
                message = self.angle_messages[layer]
                angle = angle + self._angle_part(
                    message, atom, bond.index_select(0, short), angle, place
                )
        atom = model.readout_norm(atom)
        *inner, last = _linears(model.mlp)
        for one in inner:
            atom = silu(linear(atom, one.weight, one.bias))
        # A map to one number is a product with a vector, whose rows would not round alike.
        site = (atom * last.weight[0]).double().sum(1) + last.bias.double()
        site = site + model.composition_model.fc.weight[0].double()[graph.atomic_numbers - 1]
        return site.new_zeros(len(graph.num_atoms)).index_add(0, graph.structure, site)

    @staticmethod
    def _angle_part(
        message: _GatedMessage,
        atom: Tensor,
        bond: Tensor,
        angle: Tensor,
        place: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        at, left, right = place
        hidden = message.part(0, bond).index_select(0, left)
        hidden = hidden + message.part(1, bond).index_select(0, right)
        hidden = hidden + message.part(3, atom).index_select(0, at)
        return message.finish(hidden + message.part(2, angle))

    @staticmethod
    def _radial(expansion: Any, length: Tensor) -> Tensor:
        rows = len(length)
        distance = _whole_registers(length, 1.0)[:, None]
        frequencies = _whole_registers(expansion.frequencies)
        waves = torch.sin(frequencies * (distance * expansion.inv_cutoff))
        waves = waves[:, : len(expansion.frequencies)]
        envelope = expansion.smooth_cutoff(distance)
        return (envelope * (expansion.norm_const * waves / distance))[:rows]

    def _fourier(self, cosine: Tensor) -> Tensor:
        expansion = self.model.angle_basis_expansion.fourier_expansion
        angle = torch.acos(_whole_registers(cosine))[: len(cosine), None]
        frequencies = _whole_registers(expansion.frequencies)
        phase, order = angle * frequencies, len(expansion.frequencies)
        constant = torch.full_like(angle, 0.5**0.5)
        waves = [constant, torch.sin(phase)[:, :order], torch.cos(phase)[:, :order]]
        return torch.cat(waves, dim=1) / torch.pi**0.5


def _angles(
    center: Tensor, short: Tensor, num_pairs: int
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
    """Return all ordered pairs of different directed bonds that share their center.

    Returns:
        (atom, left bond, right bond), each (G,), bonds counted without direction; then the left
        and right directed bonds, each (G,): a bond, or Q more for its reverse.
    """
    directed = torch.cat([short, short + num_pairs])
    at = center[directed]
    order = at.argsort(stable=True)
    sorted_at = at[order]
    degree = torch.bincount(sorted_at) if len(sorted_at) else sorted_at
    start = degree.cumsum(0) - degree
    count = degree[sorted_at]  # partners of each bond, itself included
    left = torch.arange(len(order)).repeat_interleave(count)
    within = torch.arange(len(left)) - (count.cumsum(0) - count).repeat_interleave(count)
    right = start[sorted_at[left]] + within
    different = left != right
    left, right = order[left[different]], order[right[different]]
    bonds = max(len(short), 1)
    return (at[left], left % bonds, right % bonds), left, right


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Return the scalar products of the rows of two (R, 3): (R,)."""
    x, y, z = (first * second).unbind(1)
    return x + y + z


def _whole_registers(values: Tensor, filling: float = 0.0) -> Tensor:
    """Return ``values`` padded to a multiple of 32.

    The processor computes powers, sines and arc cosines of the last elements of an array one by
    one, and those round otherwise than whole vector registers: the bits of a structure would
    depend on its place in the batch.
    """
    return pad(values, (0, -len(values) % 32), value=filling)


def _linears(mlp: Any) -> list[nn.Linear]:
    return [one for one in mlp.layers if isinstance(one, nn.Linear)]
