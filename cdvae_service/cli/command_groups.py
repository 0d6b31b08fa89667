"""Groups of options that several tasks take, each a dataclass, and how typer comes to know them."""

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
    """What every request may say."""

    model: Model = None
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed; drawn and told where none is given.")
    ] = None
    sampler: Annotated[str | None, typer.Option(help="Sampler of the model's card.")] = None
    nfe: Annotated[int | None, typer.Option(min=1, help="Network evaluations per crystal.")] = None
    priority: Annotated[Priority, typer.Option(help="Queue.")] = "normal"
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax the crystals with an interatomic potential.")
    ] = False

    def fields(self) -> Fields:
        """As a request has them; BadParameter for an NFE without a sampler."""
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
    """Which atoms a crystal shall have."""

    composition: Annotated[str | None, typer.Option(help="Exactly, e.g. SrTiO3.")] = None
    num_atoms: Annotated[int | None, typer.Option(min=1, help="In the cell, exactly.")] = None
    include: Annotated[
        list[str] | None, typer.Option(help="Element that must occur (repeatable).")
    ] = None
    exclude: Annotated[
        list[str] | None, typer.Option(help="Element that must not (repeatable).")
    ] = None

    def fields(self) -> Fields:
        """As a request has them."""
        elements = {"include": self.include or [], "exclude": self.exclude or []}
        return {
            "composition": self.composition,
            "num_atoms": self.num_atoms,
            "elements": elements if self.include or self.exclude else None,
        }


@dataclass(frozen=True)
class DeliveryOptions:
    """Where the job runs, and where its crystals go."""

    idempotency_key: Once = None
    server: Server = None
    key: Key = None
    as_json: AsJson = False
    png: Png = None
    out: Out = None
    no_wait: NoWait = False

    def submit(self, send: Callable[[Client, Fields], Job], request: Fields) -> None:
        """Hands what the request says to ``send`` and follows the job that it returns."""
        given = {name: value for name, value in request.items() if value is not None}
        with connected(self.server, self.key) as client:
            job = send(client, given | {"idempotency_key": self.idempotency_key})
            follow(client, job, Output(self.as_json, self.png, self.out), self.no_wait)


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the fields of its dataclass parameters, all optional, as its own options.

    Typer has no groups of options: it reads a function's signature, so the function that it gets
    has one in which each group is replaced by its fields.
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
