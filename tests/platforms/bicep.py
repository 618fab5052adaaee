"""Bicep, as far as the template uses it: the syntax tree and its parser.

There is no Bicep compiler on PyPI, and the syntax tree of pycep-parser does not tell a string from
a name, so this reads the files itself. What it does not know is an error.
https://learn.microsoft.com/azure/azure-resource-manager/bicep/file
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BicepError(Exception):
    """A file that the compiler, its linter or Azure would not accept."""


# The syntax tree


@dataclass(frozen=True)
class Literal:
    """A number, `true`, `false` or `null`."""

    value: int | bool | None


@dataclass(frozen=True)
class Text:
    """A string; expressions among its parts are interpolated."""

    parts: tuple["str | Expression", ...]


@dataclass(frozen=True)
class Name:
    """A name that is declared somewhere."""

    name: str


@dataclass(frozen=True)
class Array:
    """`[a, b]`."""

    items: tuple["Expression", ...]


@dataclass(frozen=True)
class Object:
    """`{ key: value }`."""

    entries: tuple[tuple[Text, "Expression"], ...]


@dataclass(frozen=True)
class Loop:
    """`[for variable in collection: body]`."""

    variable: str
    collection: "Expression"
    body: "Expression"


@dataclass(frozen=True)
class Lambda:
    """`variable => body`."""

    variable: str
    body: "Expression"


@dataclass(frozen=True)
class Member:
    """`target.name`."""

    target: "Expression"
    name: str


@dataclass(frozen=True)
class Call:
    """`name(arguments)`, or `target.name(arguments)`."""

    target: "Expression | None"
    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True)
class Comparison:
    """`left operator right`."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True)
class Choice:
    """`condition ? yes : no`."""

    condition: "Expression"
    yes: "Expression"
    no: "Expression"


Expression = (
    Literal | Text | Name | Array | Object | Loop | Lambda | Member | Call | Comparison | Choice
)


TYPES: dict[str, type] = {
    "string": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "array": list,
}


@dataclass(frozen=True)
class Parameter:
    """`param name type = default`, with its decorators by name."""

    type: str
    default: Expression | None
    decorators: Mapping[str, tuple[Expression, ...]]

    @property
    def secure(self) -> bool:
        """Whether Azure keeps its value out of logs and histories."""
        return "secure" in self.decorators


@dataclass(frozen=True)
class Resource:
    """`resource name 'type@version' = body`."""

    type: str
    version: str
    existing: bool
    body: Expression


@dataclass(frozen=True)
class Module:
    """`module name 'path' = body`."""

    path: str
    body: Object


@dataclass(frozen=True)
class File:
    """A Bicep file.

    Attributes:
        path: Where it is.
        scope: What it is deployed to, `resourceGroup` or `subscription`.
        symbols: What it declares, by name.
        outputs: Type and value of its outputs.
    """

    path: Path
    scope: str
    symbols: Mapping[str, "Parameter | Expression | Resource | Module"]
    outputs: Mapping[str, tuple[str, Expression]]

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its parameters by name."""
        return {n: s for n, s in self.symbols.items() if isinstance(s, Parameter)}

    def expressions(self) -> Iterator[Expression]:
        """Yield every expression that is not part of another."""
        for symbol in self.symbols.values():
            if isinstance(symbol, Parameter):
                yield from filter(None, [symbol.default])
            elif isinstance(symbol, Resource | Module):
                yield symbol.body
            else:
                yield symbol
        yield from (value for _, value in self.outputs.values())


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the expressions that an expression consists of."""
    match expression:
        case Text(parts):
            return tuple(part for part in parts if not isinstance(part, str))
        case Array(items):
            return items
        case Object(entries):
            return tuple(part for entry in entries for part in entry)
        case Loop(_, collection, body):
            return (collection, body)
        case Lambda(_, body):
            return (body,)
        case Member(target, _):
            return (target,)
        case Call(target, _, arguments):
            return arguments if target is None else (target, *arguments)
        case Comparison(_, left, right):
            return (left, right)
        case Choice(condition, yes, no):
            return (condition, yes, no)
        case _:
            return ()


def entry(body: Expression, key: str) -> Expression | None:
    """Return the value of a key of an object, as it is written."""
    if not isinstance(body, Object):
        return None
    return next((value for name, value in body.entries if name == Text((key,))), None)


# The parser

TOKEN = re.compile(
    r"(?P<space>[ \t]+|//[^\n]*)"
    r"|(?P<newline>\r?\n)"
    r"|(?P<number>[0-9]+)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>==|!=|<=|>=|=>|[@()\[\]{}:,.?=<>])"
)
ESCAPES = {"\\": "\\", "'": "'", "n": "\n", "r": "\r", "t": "\t", "$": "$"}
KEYWORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
# In the order of their precedence, the weakest first.
COMPARISONS = (("==", "!="), ("<", "<=", ">", ">="))


def _end_of_text(source: str, start: int) -> int:
    """Return where a string ends that starts behind the quote at `start`."""
    position, depth = start + 1, 0
    while position < len(source):
        character = source[position]
        if character == "\n":
            break
        if depth == 0 and character == "'":
            return position + 1
        if depth == 0 and character == "\\":
            position += 1
        elif source.startswith("${", position):
            depth, position = depth + 1, position + 1
        elif depth and character == "'":
            position = _end_of_text(source, position) - 1
        elif depth and character == "}":
            depth -= 1
        position += 1
    raise BicepError(f"a string does not end: {source[start : start + 40]!r}")


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each token; `text` is a string with its quotes."""
    position = 0
    while position < len(source):
        if source[position] == "'":
            end = _end_of_text(source, position)
            yield "text", source[position:end]
        else:
            found = TOKEN.match(source, position)
            if not found:
                raise BicepError(f"unknown character: {source[position : position + 20]!r}")
            end = found.end()
            if found.lastgroup != "space":
                yield str(found.lastgroup), found.group()
        position = end
    yield "newline", "\n"
    yield "end", ""


def _declare(declared: dict[K, V], name: K, value: V) -> None:
    if name in declared:
        raise BicepError(f"{name} is declared twice")
    declared[name] = value


class Parser:
    """Reads declarations and expressions from the text of a file."""

    def __init__(self, source: str) -> None:
        self._tokens = list(_tokens(source))
        self._position = 0

    def _fail(self, expected: str) -> NoReturn:
        before = " ".join(text for _, text in self._tokens[max(0, self._position - 6) :][:12])
        raise BicepError(f"expected {expected} near: {before!r}")

    def _is(self, *texts: str) -> bool:
        kind, text = self._tokens[self._position]
        return kind in ("symbol", "name") and text in texts

    def _next(self, kind: str, expected: str) -> str:
        found, text = self._tokens[self._position]
        if found != kind:
            self._fail(expected)
        self._position += 1
        return text

    def _take(self, text: str) -> None:
        if not self._is(text):
            self._fail(repr(text))
        self._position += 1

    def _skip_lines(self) -> None:
        while self._tokens[self._position][0] == "newline":
            self._position += 1

    def file(self, path: Path) -> File:
        """Read a whole file.

        Raises:
            BicepError: The file is not of the known kind, or declares a name twice.
        """
        scope = "resourceGroup"
        symbols: dict[str, Parameter | Expression | Resource | Module] = {}
        outputs: dict[str, tuple[str, Expression]] = {}
        self._skip_lines()
        while self._tokens[self._position][0] != "end":
            decorators = self._decorators()
            keyword = self._next("name", "a declaration")
            if decorators and keyword != "param":
                self._fail("no decorator here")
            if keyword == "targetScope":
                self._take("=")
                scope = self._plain_text()
            elif keyword == "output":
                name, type_ = self._next("name", "a name"), self._next("name", "a type")
                self._take("=")
                _declare(outputs, name, (type_, self.expression()))
            else:
                name = self._next("name", "a name")
                _declare(symbols, name, self._declaration(keyword, decorators))
            self._next("newline", "the end of the line")
            self._skip_lines()
        return File(path, scope, symbols, outputs)

    def _decorators(self) -> dict[str, tuple[Expression, ...]]:
        decorators: dict[str, tuple[Expression, ...]] = {}
        while self._is("@"):
            self._take("@")
            _declare(decorators, self._next("name", "a decorator"), self._arguments())
            self._skip_lines()
        return decorators

    def _declaration(
        self, keyword: str, decorators: Mapping[str, tuple[Expression, ...]]
    ) -> Parameter | Expression | Resource | Module:
        match keyword:
            case "param":
                type_, default = self._next("name", "a type"), None
                if self._is("="):
                    self._take("=")
                    default = self.expression()
                return Parameter(type_, default, decorators)
            case "var":
                self._take("=")
                return self.expression()
            case "resource":
                type_, _, version = self._plain_text().partition("@")
                existing = self._is("existing")
                if existing:
                    self._take("existing")
                self._take("=")
                return Resource(type_, version, existing, self.expression())
            case "module":
                module = self._plain_text()
                self._take("=")
                body = self.expression()
                if isinstance(body, Object):
                    return Module(module, body)
        self._fail("param, var, resource, module or output")

    def _plain_text(self) -> str:
        text = self._text(self._next("text", "a string"))
        if len(text.parts) == 1 and isinstance(text.parts[0], str):
            return text.parts[0]
        self._fail("a string without interpolation")

    def _text(self, token: str) -> Text:
        parts: list[str | Expression] = [""]
        position, last = 1, len(token) - 1
        while position < last:
            if token.startswith("${", position):
                # The expression ends where a string with it alone would end.
                end = position + 2
                depth = 1
                while depth:
                    if token[end] == "'":
                        end = _end_of_text(token, end)
                        continue
                    depth += {"{": 1, "}": -1}.get(token[end], 0)
                    end += 1
                parts += [Parser(token[position + 2 : end - 1])._alone(), ""]
                position = end
                continue
            character = token[position]
            if character == "\\":
                position += 1
                if token[position] not in ESCAPES:
                    self._fail("a known escape")
                character = ESCAPES[token[position]]
            parts[-1] = f"{parts[-1]}{character}"
            position += 1
        return Text(tuple(part for part in parts if part != "") or ("",))

    def _alone(self) -> Expression:
        expression = self.expression()
        self._skip_lines()
        self._next("end", "the end of the interpolation")
        return expression

    def expression(self) -> Expression:
        """Read an expression; it ends with its line, or where its bracket closes."""
        condition = self._comparison(0)
        if not self._is("?"):
            return condition
        self._take("?")
        yes = self.expression()
        self._take(":")
        return Choice(condition, yes, self.expression())

    def _comparison(self, level: int) -> Expression:
        if level == len(COMPARISONS):
            return self._postfix()
        left = self._comparison(level + 1)
        while self._is(*COMPARISONS[level]):
            operator = self._next("symbol", "an operator")
            left = Comparison(operator, left, self._comparison(level + 1))
        return left

    def _postfix(self) -> Expression:
        expression = self._primary()
        while self._is("."):
            self._take(".")
            name = self._next("name", "a property")
            if self._is("("):
                expression = Call(expression, name, self._arguments())
            else:
                expression = Member(expression, name)
        return expression

    def _arguments(self) -> tuple[Expression, ...]:
        return tuple(self._list("(", ")"))

    def _list(self, opening: str, closing: str) -> Iterator[Expression]:
        self._take(opening)
        self._skip_lines()
        while not self._is(closing):
            yield self.expression()
            # A line ends an item as a comma does.
            if self._is(","):
                self._take(",")
            elif not self._is(closing):
                self._next("newline", "a comma or the end of the line")
            self._skip_lines()
        self._take(closing)

    def _primary(self) -> Expression:
        kind, token = self._tokens[self._position]
        if kind == "text":
            self._position += 1
            return self._text(token)
        if kind == "number":
            self._position += 1
            return Literal(int(token))
        if kind == "name":
            self._position += 1
            if token in KEYWORDS:
                return Literal(KEYWORDS[token])
            if self._is("("):
                return Call(None, token, self._arguments())
            if self._is("=>"):
                self._take("=>")
                return Lambda(token, self.expression())
            return Name(token)
        if self._is("["):
            if self._tokens[self._position + 1] == ("name", "for"):
                return self._loop()
            return Array(tuple(self._list("[", "]")))
        if self._is("{"):
            return self._object()
        self._fail("an expression")

    def _loop(self) -> Loop:
        self._take("[")
        self._take("for")
        variable = self._next("name", "a name")
        self._take("in")
        collection = self.expression()
        self._take(":")
        body = self.expression()
        self._take("]")
        return Loop(variable, collection, body)

    def _object(self) -> Object:
        entries: dict[Text, Expression] = {}
        self._take("{")
        self._skip_lines()
        while not self._is("}"):
            kind, token = self._tokens[self._position]
            self._position += 1
            if kind not in ("name", "text"):
                self._fail("a key")
            key = self._text(token) if kind == "text" else Text((token,))
            self._take(":")
            _declare(entries, key, self.expression())
            if self._is(","):
                self._take(",")
            elif not self._is("}"):
                self._next("newline", "the end of the line")
            self._skip_lines()
        self._take("}")
        return Object(tuple(entries.items()))


def read(path: Path) -> File:
    """Read a Bicep file.

    Args:
        path: the file.

    Raises:
        BicepError: It is missing or not of the known kind.
    """
    if not path.is_file():
        raise BicepError(f"{path.name} does not exist")
    try:
        return Parser(path.read_text("utf-8")).file(path)
    except BicepError as error:
        raise BicepError(f"{path.name}: {error}") from None
