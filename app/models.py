"""`GET /models`: what can be asked of which model, and how good it is."""

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from app.deps import Models
from app.errors import ApiError
from app.replies import json_reply
from app.security import authenticate
from registry.errors import BrokenModelError, UnknownModelError
from schema.base import Frozen
from schema.cards import ModelCard

router = APIRouter(tags=["models"], dependencies=[Depends(authenticate)])


class ModelList(Frozen):
    """Every model, in the version that its name alone refers to."""

    default: str | None
    models: list[ModelCard]


@router.get("/models", response_model=ModelList, summary="List the models")
def list_models(models: Models) -> Response:
    """Returns a card of every model, and what the alias `default` refers to."""
    try:
        return json_reply(ModelList(default=models.default_name(), models=models.cards()))
    except BrokenModelError as error:
        raise ApiError(503, str(error)) from error


@router.get("/models/{name}", response_model=ModelCard, summary="One model's card")
def show_model(name: str, models: Models) -> Response:
    """Returns the card of `name@version`, or of the version that `name` alone means."""
    try:
        return json_reply(models.card(name))
    except UnknownModelError as error:
        raise ApiError(404, str(error)) from error
    except BrokenModelError as error:
        raise ApiError(503, str(error)) from error
