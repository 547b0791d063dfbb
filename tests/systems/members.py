"""The members of `System` that a system may name, set or override."""

from tpr.systems.base import Setting, System

SETTING = Setting(image_size=(32, 16), text_length=8, identities=None, captions=0)
OF_EVERY_MODULE = {"training", "setting"}


def list_classes() -> list[str]:
    """What a system names in the body of its class."""
    return list(System.__annotations__)


def list_values() -> list[str]:
    """What a system may set when it is made."""
    return [name for name in vars(System(SETTING)) if name[0] != "_" and name not in OF_EVERY_MODULE]


def list_overridable() -> list[str]:
    """Methods and properties of `System` that are not final."""
    members = {name: member for name, member in vars(System).items() if name[0] != "_"}
    found = {name: find_function(member) for name, member in members.items() if name not in list_classes()}
    return [name for name, function in found.items() if not getattr(function, "__final__", False)]


def find_function(member: object) -> object:
    """The function behind a method, a class method or a property."""
    return getattr(member, "fget", getattr(member, "__func__", member))


def list_members() -> list[str]:
    """All of them."""
    return [*list_classes(), *list_values(), *list_overridable()]
