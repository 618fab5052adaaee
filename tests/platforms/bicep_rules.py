"""Checks of our own: names, functions, parameters, modules and secrets of the template's files.

Each is a mistake that the Bicep compiler or its linter would refuse too. They are not the compiler,
which has not seen these files.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.platforms.bicep import (
    TYPES,
    BicepError,
    Call,
    Choice,
    Expression,
    File,
    Lambda,
    Loop,
    Member,
    Module,
    Name,
    Object,
    Parameter,
    Resource,
    Text,
    children,
    entry,
    read,
)

# https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions
FUNCTIONS = {
    "concat",
    "empty",
    "guid",
    "items",
    "json",
    "length",
    "map",
    "newGuid",
    "replace",
    "resourceGroup",
    "subscription",
    "subscriptionResourceId",
    "toLower",
    "uniqueString",
    "uriComponent",
}
METHODS = {"listKeys"}
SECRET_NAME = re.compile("(?i)secret|password|key")


def free_names(expression: Expression, bound: frozenset[str] = frozenset()) -> set[str]:
    """Return the names in an expression that it does not declare itself.

    Args:
        expression: what to look at.
        bound: names of loops and lambdas around it.
    """
    match expression:
        case Name(name):
            return set() if name in bound else {name}
        case Loop(variable, collection, body):
            return free_names(collection, bound) | free_names(body, bound | {variable})
        case Lambda(variable, body):
            return free_names(body, bound | {variable})
        case _:
            return set().union(*(free_names(child, bound) for child in children(expression)))


def check(path: Path) -> None:
    """Check a file and the modules that it uses.

    Args:
        path: the file.

    Raises:
        BicepError: With everything that is wrong, one problem per line.
    """
    file = read(path)
    problems = [
        *_unknown_names(file),
        *_unsafe_parameters(file),
        *(problem for name in file.symbols for problem in _wrong_module(file, name)),
        *(f"output {name} shows a secret" for name, (_, value) in file.outputs.items()
          if is_secret(file, value)),
    ]  # fmt: skip
    if problems:
        raise BicepError("\n".join(f"{path.name}: {problem}" for problem in problems))


def is_secret(file: File, expression: Expression) -> bool:
    """Return whether an expression's value comes from a secure parameter or from access keys."""
    if isinstance(expression, Call) and expression.name in METHODS:
        return True
    if isinstance(expression, Name):
        match file.symbols.get(expression.name):
            case Parameter() as parameter:
                return parameter.secure
            case Resource() | Module() | None:
                return False
            case variable:
                return is_secret(file, variable)
    if isinstance(expression, Call) and expression.name in ("length", "empty"):
        return False
    if isinstance(expression, Choice):
        return is_secret(file, expression.yes) or is_secret(file, expression.no)
    return any(is_secret(file, child) for child in children(expression))


def _walk(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in children(expression):
        yield from _walk(child)


def _unknown_names(file: File) -> Iterator[str]:
    used: set[str] = set()
    for expression in file.expressions():
        used |= free_names(expression)
        for part in _walk(expression):
            if isinstance(part, Call) and part.name not in (METHODS if part.target else FUNCTIONS):
                yield f"{part.name}() is no function"
            if isinstance(part, Member) and isinstance(part.target, Member):
                yield from _unknown_output(file, part.target.target, part.target.name, part.name)
    for name in sorted(used - set(file.symbols)):
        yield f"{name} is not declared"
    for name, symbol in file.symbols.items():
        if name not in used and not isinstance(symbol, Resource | Module):
            yield f"{name} is declared and never used"
        if name not in used and isinstance(symbol, Resource) and symbol.existing:
            yield f"{name} is declared and never used"


def _unknown_output(file: File, target: Expression, middle: str, name: str) -> Iterator[str]:
    module = file.symbols.get(target.name) if isinstance(target, Name) else None
    if not isinstance(module, Module) or middle != "outputs":
        return
    if name not in read(file.path.parent / module.path).outputs:
        yield f"{module.path} has no output {name}"


def _unsafe_parameters(file: File) -> Iterator[str]:
    for name, parameter in file.parameters.items():
        if SECRET_NAME.search(name) and not parameter.secure:
            yield f"parameter {name} is not @secure()"
        if parameter.type not in TYPES:
            yield f"parameter {name} has the unknown type {parameter.type}"
        unknown = set(parameter.decorators) - {"secure", "description", "minLength", "maxLength"}
        if unknown:
            yield f"parameter {name} has unknown decorators: {', '.join(sorted(unknown))}"
        if parameter.secure and isinstance(parameter.default, Text):
            yield f"parameter {name} is secure and has a value in the file"


def _wrong_module(file: File, name: str) -> Iterator[str]:
    module = file.symbols[name]
    if not isinstance(module, Module):
        return
    path = file.path.parent / module.path
    try:
        check(path)
        wanted = read(path).parameters
    except BicepError as error:
        yield str(error)
        return
    params = entry(module.body, "params") or Object(())
    assert isinstance(params, Object)
    given = {str(key.parts[0]): value for key, value in params.entries}
    for parameter in sorted(set(given) - set(wanted)):
        yield f"{module.path} has no parameter {parameter}"
    for parameter, declared in wanted.items():
        if parameter not in given and declared.default is None:
            yield f"{module.path} is not given {parameter}"
        if parameter in given and is_secret(file, given[parameter]) and not declared.secure:
            yield f"{module.path} takes the secret {parameter} without @secure()"
