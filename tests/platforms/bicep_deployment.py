"""A deployment of Bicep files: their expressions evaluated, their resources remembered."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.platforms.bicep import (
    TYPES,
    Array,
    BicepError,
    Call,
    Choice,
    Comparison,
    Expression,
    File,
    Lambda,
    Literal,
    Loop,
    Member,
    Module,
    Name,
    Object,
    Parameter,
    Resource,
    Text,
    entry,
    read,
)


@dataclass(frozen=True)
class Deployed:
    """A resource as it is after its deployment.

    Attributes:
        type: Its type, as in `Microsoft.App/jobs`.
        name: Its name, behind those of its parents.
        body: What the file says, evaluated, without `parent`, `scope` and `dependsOn`.
        version: The API version that the file uses.
        scope: What it is about, if it is an extension of another resource.
        runtime: What only Azure knows.
        keys: What `listKeys()` gives.
    """

    type: str
    name: str
    body: Mapping[str, Any]
    version: str
    scope: "Deployed | None" = None
    runtime: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def member(self, name: str) -> Any:
        """Return what `resource.name` is in Bicep.

        Raises:
            BicepError: There is no such property.
        """
        if name == "id":
            return f"/subscriptions/0/resourceGroups/group/providers/{self.type}/{self.name}"
        if name == "name":
            return self.name.rpartition("/")[2]
        if name == "properties":
            return {**self.body.get("properties", {}), **self.runtime}
        if name not in self.body:
            raise BicepError(f"{self.type} {self.name} has no property {name}")
        return self.body[name]


@dataclass
class Cloud:
    """What has been deployed, by type and name.

    Attributes:
        runtime: For each type, a function from a name to what only Azure knows: properties, and
            the keys that `listKeys()` gives.
    """

    runtime: Mapping[str, Callable[[str], tuple[Mapping[str, Any], Mapping[str, str]]]]
    resources: dict[tuple[str, str], Deployed] = field(default_factory=dict)

    def of_type(self, type_: str) -> list[Deployed]:
        """Return the resources of a type."""
        return [resource for (found, _), resource in self.resources.items() if found == type_]


def deploy(path: Path, parameters: Mapping[str, Any], cloud: Cloud) -> dict[str, Any]:
    """Deploy a file and its modules.

    Args:
        path: the file.
        parameters: values of its parameters; those with a default may be missing.
        cloud: what is there already; it gets what the file adds.

    Returns:
        The outputs.

    Raises:
        BicepError: Something is missing or not as a decorator demands.
    """
    file = read(path)
    for name in set(parameters) - set(file.parameters):
        raise BicepError(f"{path.name} has no parameter {name}")
    evaluation = Evaluation(file, parameters, cloud)
    for name in file.symbols:
        evaluation.symbol(name)
    return {name: evaluation.value(value) for name, (_, value) in file.outputs.items()}


def _limits(parameter: Parameter) -> list[tuple[str, tuple[Expression, ...]]]:
    decorators = parameter.decorators.items()
    return [(name, values) for name, values in decorators if name in ("minLength", "maxLength")]


class Evaluation:
    """Gives the symbols of one file their values, each when it is first asked for."""

    def __init__(self, file: File, parameters: Mapping[str, Any], cloud: Cloud) -> None:
        self._file = file
        self._parameters = parameters
        self._cloud = cloud
        self._known: dict[str, Any] = {}
        self._underway: list[str] = []

    def symbol(self, name: str) -> Any:
        """Return the value of a declared name."""
        if name in self._underway:
            raise BicepError(f"a circle: {' -> '.join([*self._underway, name])}")
        if name not in self._known:
            self._underway.append(name)
            self._known[name] = self._evaluate(name)
            self._underway.pop()
        return self._known[name]

    def _evaluate(self, name: str) -> Any:
        if name not in self._file.symbols:
            raise BicepError(f"{self._file.path.name}: {name} is not declared")
        match self._file.symbols[name]:
            case Parameter() as parameter:
                return self._parameter(name, parameter)
            case Resource(body=Loop(variable, collection, body)) as resource:
                made = [
                    self._resource(resource, body, {variable: item})
                    for item in self.value(collection)
                ]
                if len({each.name for each in made}) < len(made):
                    raise BicepError(f"{self._file.path.name}: two of {name} have the same name")
                return made
            case Resource() as resource:
                return self._resource(resource, resource.body, {})
            case Module() as module:
                params = self.value(entry(module.body, "params") or Object(()))
                outputs = deploy(self._file.path.parent / module.path, params, self._cloud)
                return {"outputs": outputs}
            case variable:
                return self.value(variable)

    def _parameter(self, name: str, parameter: Parameter) -> Any:
        if name in self._parameters:
            value = self._parameters[name]
        elif parameter.default is not None:
            value = self.value(parameter.default)
        else:
            raise BicepError(f"{self._file.path.name}: parameter {name} has no value")
        if not isinstance(value, TYPES[parameter.type]):
            raise BicepError(f"{self._file.path.name}: parameter {name} is no {parameter.type}")
        limits = {key: self.value(limit) for key, (limit,) in _limits(parameter)}
        shortest, longest = limits.get("minLength", 0), limits.get("maxLength")
        if isinstance(value, str) and not shortest <= len(value) <= (longest or len(value)):
            raise BicepError(f"{self._file.path.name}: parameter {name} is too short or too long")
        return value

    def _resource(self, resource: Resource, body: Expression, bound: Mapping[str, Any]) -> Deployed:
        values = self.value(body, bound)
        values.pop("dependsOn", None)
        parent, scope = values.pop("parent", None), values.pop("scope", None)
        name = f"{parent.name}/{values['name']}" if parent else values["name"]
        place = (resource.type, name)
        if resource.existing:
            if place not in self._cloud.resources:
                raise BicepError(f"{self._file.path.name}: {resource.type} {name} does not exist")
            return self._cloud.resources[place]
        known = self._cloud.runtime.get(resource.type)
        runtime, keys = known(name) if known else ({}, {})
        deployed = Deployed(resource.type, name, values, resource.version, scope, runtime, keys)
        self._cloud.resources[place] = deployed
        return deployed

    def value(self, expression: Expression, bound: Mapping[str, Any] | None = None) -> Any:
        """Return the value of an expression.

        Args:
            expression: what to evaluate.
            bound: values of the variables of loops and lambdas around it.

        Raises:
            BicepError: A property is missing.
        """
        bound = bound or {}
        match expression:
            case Literal(value):
                return value
            case Text(parts):
                texts = [p if isinstance(p, str) else str(self.value(p, bound)) for p in parts]
                return "".join(texts)
            case Name(name):
                return bound[name] if name in bound else self.symbol(name)
            case Array(items):
                return [self.value(item, bound) for item in items]
            case Object(entries):
                return {self.value(k, bound): self.value(v, bound) for k, v in entries}
            case Loop(variable, collection, body):
                every = self.value(collection, bound)
                return [self.value(body, {**bound, variable: item}) for item in every]
            case Lambda(variable, body):
                return lambda item: self.value(body, {**bound, variable: item})
            case Member(target, name):
                return self._member(self.value(target, bound), name)
            case Comparison(operator, left, right):
                return self._compare(operator, self.value(left, bound), self.value(right, bound))
            case Choice(condition, yes, no):
                return self.value(yes if self.value(condition, bound) else no, bound)
            case Call(target, name, arguments):
                values = [self.value(argument, bound) for argument in arguments]
                if target is None:
                    return self._call(name, values)
                owner = self.value(target, bound)
                if name != "listKeys" or not isinstance(owner, Deployed) or not owner.keys:
                    raise BicepError(f"{name}() is no method here")
                return owner.keys

    def _member(self, owner: Any, name: str) -> Any:
        if isinstance(owner, Deployed):
            return owner.member(name)
        if not isinstance(owner, Mapping) or name not in owner:
            raise BicepError(f"{self._file.path.name}: nothing has a property {name}")
        return owner[name]

    @staticmethod
    def _compare(operator: str, left: Any, right: Any) -> bool:
        results: dict[str, Callable[[], bool]] = {
            "==": lambda: left == right,
            "!=": lambda: left != right,
            "<": lambda: left < right,
            "<=": lambda: left <= right,
            ">": lambda: left > right,
            ">=": lambda: left >= right,
        }
        return results[operator]()

    def _call(self, name: str, arguments: list[Any]) -> Any:
        match name, arguments:
            case "concat", [*arrays]:
                return [item for array in arrays for item in array]
            case "empty", [value]:
                return not value
            case "guid", [*texts]:
                return str(uuid.uuid5(uuid.NAMESPACE_URL, "-".join(texts)))
            case "items", [value]:
                # In the order of the keys.
                return [{"key": key, "value": value[key]} for key in sorted(value)]
            case "json", [value]:
                return float(value)
            case "length", [value]:
                return len(value)
            case "map", [items, function]:
                return [function(item) for item in items]
            case "newGuid", []:
                return str(uuid.uuid4())
            case "replace", [text, old, new]:
                return text.replace(old, new)
            case "resourceGroup", []:
                return {"id": "/subscriptions/0/resourceGroups/group", "location": "westeurope"}
            case "subscription", []:
                return {"tenantId": "00000000-0000-0000-0000-000000000000"}
            case "subscriptionResourceId", [type_, identifier]:
                return f"/subscriptions/0/providers/{type_}/{identifier}"
            case "toLower", [text]:
                return text.lower()
            case "uniqueString", [*texts]:
                # Azure's has 13 characters too, of another kind of hash.
                return hashlib.sha256("-".join(texts).encode()).hexdigest()[:13]
            case "uriComponent", [text]:
                return quote(text, safe="")
        raise BicepError(f"{name}() does not take {len(arguments)} arguments")
