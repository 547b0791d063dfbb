"""Values that are chosen by name from a table."""

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Named:
    """Marks a field whose value is chosen by name from the table `kind`."""

    kind: str


@dataclass(frozen=True)
class Choice:
    """A named entry of a table with its typed options."""

    name: str
    options: Any


AdapterChoice = Annotated[Choice, Named("adapter")]
OperationChoice = Annotated[Choice, Named("operation")]
