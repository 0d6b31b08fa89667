"""Groups of options that several commands share, as dataclasses, and their use with typer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from cdvae_schema.requests import Priority
from cdvae_service.cli.options import AsJson, Key, Model, NoWait, Once, Out, Png, Server
from cdvae_service.cli.remote.remote_calls import Output, connected, follow

if TYPE_CHECKING:
    from cdvae_client import Client, Job

Fields = dict[str, Any]


@dataclass(frozen=True)
class TaskOptions:
    """Options of every task."""

    model: Model = None
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed; the default is random, and the result has it.")
    ] = None
    sampler: Annotated[str | None, typer.Option(help="Sampler of the model's card.")] = None
    nfe: Annotated[int | None, typer.Option(min=1, help="Network evaluations per crystal.")] = None
    priority: Annotated[Priority, typer.Option(help="Queue.")] = "normal"
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax the crystals with an interatomic potential.")
    ] = False

    def fields(self) -> Fields:
        """Return the fields of the request; raises BadParameter for an NFE without a sampler."""
        if self.nfe is not None and self.sampler is None:
            raise typer.BadParameter("name the sampler too", param_hint="--nfe")
        return {
            "model": self.model,
            "seed": self.seed,
            "sampler": self.sampler and {"name": self.sampler, "nfe": self.nfe},
            "priority": self.priority,
            "relax": self.relax or None,
        }


@dataclass(frozen=True)
class AtomOptions:
    """Constraints on the atoms."""

    composition: Annotated[str | None, typer.Option(help="Exact composition, e.g. SrTiO3.")] = None
    num_atoms: Annotated[int | None, typer.Option(min=1, help="Exact number in the cell.")] = None
    include: Annotated[list[str] | None, typer.Option(help="Required element (repeatable).")] = None
    exclude: Annotated[list[str] | None, typer.Option(help="Excluded element (repeatable).")] = None

    def fields(self) -> Fields:
        """Return the fields of the request."""
        elements = {"include": self.include or [], "exclude": self.exclude or []}
        return {
            "composition": self.composition,
            "num_atoms": self.num_atoms,
            "elements": elements if self.include or self.exclude else None,
        }


@dataclass(frozen=True)
class DeliveryOptions:
    """Service of the job and destination of its crystals."""

    idempotency_key: Once = None
    server: Server = None
    key: Key = None
    as_json: AsJson = False
    png: Png = None
    out: Out = None
    no_wait: NoWait = False

    def submit(self, send: Callable[[Client, Fields], Job], request: Fields) -> None:
        """Submit the request with ``send`` and follow the job that it returns."""
        given = {name: value for name, value in request.items() if value is not None}
        with connected(self.server, self.key) as client:
            job = send(client, given | {"idempotency_key": self.idempotency_key})
            follow(client, job, Output(self.as_json, self.png, self.out), self.no_wait)


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` with each dataclass parameter replaced by one option per field.

    Typer has no groups of options. It reads the signature of a function, so the returned function
    has a signature with the fields, and builds the dataclasses before it calls ``command``.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        own = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            option = parameter.replace(name=field.name, annotation=own[field.name])
            parameters.append(option.replace(default=field.default))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    return call
