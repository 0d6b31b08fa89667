"""`GET /models`: what can be asked of which model, and how good it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from app.auth.authentication import authenticate
from app.dependencies import ModelsDep
from app.http.problems import ApiError
from app.http.responses import json_reply
from cdvae_schema.base import StrictModel
from cdvae_schema.cards import ModelCard, TrainingStatistics
from cdvae_service.models.store_errors import BrokenModelError, UnknownModelError

router = APIRouter(tags=["models"], dependencies=[Depends(authenticate)])


class ModelList(StrictModel):
    """Every model, in the version that its name alone refers to."""

    default: str | None
    models: list[ModelCard]


@router.get("/models", response_model=ModelList, summary="List the models")
def list_models(models: ModelsDep) -> Response:
    """Returns a card of every model, and what the alias `default` refers to."""
    try:
        return json_reply(ModelList(default=models.default_name(), models=models.cards()))
    except BrokenModelError as error:
        raise ApiError(503, str(error)) from error


@router.get("/models/{name}", response_model=ModelCard, summary="One model's card")
def show_model(name: str, models: ModelsDep) -> Response:
    """Returns the card of `name@version`, or of the version that `name` alone means."""
    with _found():
        return json_reply(models.card(name))


@router.get(
    "/models/{name}/statistics",
    response_model=TrainingStatistics,
    summary="How its training data are distributed",
)
def show_statistics(name: str, models: ModelsDep) -> Response:
    """Returns quantiles of density and properties of the data that the model was trained on."""
    with _found():
        return json_reply(models.statistics(name))


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except UnknownModelError as error:
        raise ApiError(404, str(error)) from error
    except BrokenModelError as error:
        raise ApiError(503, str(error)) from error
