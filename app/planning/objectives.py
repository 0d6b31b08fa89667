"""What an optimization is to reach, from its query and its body."""

from app.http.bodies import quoted
from app.http.problems import FieldError, invalid, pointer
from cdvae_schema.cards import ModelCard
from cdvae_schema.requests import Objective, OptimizeRequest


def read_objectives(request: OptimizeRequest, prop: str | None, card: ModelCard) -> list[Objective]:
    """The property of the query, if there is one, then those of the body; 422 for what is wrong."""
    known = ", ".join(card.properties) or "none"
    if prop is None and not request.objectives:
        detail = (
            f"a property is needed, in the query or in objectives; {card.reference} has: {known}"
        )
        raise invalid([FieldError(detail=detail, parameter="property")])
    if prop is None and {"direction", "value"} & request.model_fields_set:
        detail = "direction and value belong to the property of the query, and there is none"
        raise invalid([FieldError(detail=detail, parameter="property")])
    if prop is not None and prop not in card.properties:
        detail = f"property {quoted(prop)} is unknown to {card.reference}; it has: {known}"
        raise invalid([FieldError(detail=detail, parameter="property")])
    found = []
    if prop is not None:
        found.append(Objective(property=prop, direction=request.direction, value=request.value))
    for number, objective in enumerate(request.objectives):
        where = pointer("objectives", number, "property")
        name = quoted(objective.property)
        if objective.property not in card.properties:
            detail = f"{where}: {name} is unknown to {card.reference}; it has: {known}"
            raise invalid([FieldError(detail=detail, pointer=where)])
        if any(objective.property == one.property for one in found):
            detail = f"{where}: {name} has an objective already"
            raise invalid([FieldError(detail=detail, pointer=where)])
        found.append(objective)
    return found
