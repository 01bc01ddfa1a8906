"""Messages of a `.proto` file, made when they are needed: no generated code that must match protobuf's version.

In: the text of a file of proto3. Out: message classes, and the methods of its service. Reads what `inference.proto`
needs of the language: messages, nested ones, `repeated`, `map`, `oneof`, one service of unary methods.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

WORD = re.compile(r'//[^\n]*|"[^"]*"|[\w.]+|\S')
SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
MESSAGE, OPTIONAL, REPEATED = 11, 1, 3


@dataclass(frozen=True)
class Service:
    """Hold a service and its messages.

    Attributes:
        name: in full.
        methods: each one's name, with the names of its request and response.
        messages: classes by name.
    """

    name: str
    methods: Mapping[str, tuple[str, str]]
    messages: Mapping[str, Any]


def inference_service() -> Service:
    """Return the service of the Open Inference Protocol."""
    return service_of(files("danlu.serving.grpc").joinpath("inference.proto").read_text(encoding="utf-8"))


def service_of(text: str) -> Service:
    """Return the service that a file describes.

    Its messages are in a pool of their own, so another library's of the same names may be beside them.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="danlu.proto", syntax="proto3")
    methods: dict[str, tuple[str, str]] = {}
    words = (word for word in WORD.findall(text) if not word.startswith("//"))
    for word in words:
        if word == "package":
            file.package = next(words)
        elif word == "message":
            _read_message(file.message_type.add(name=next(words)), words)
        elif word == "service":
            service = file.service.add(name=next(words))
            methods = _read_methods(words)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    messages = {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
        for message in file.message_type
    }
    return Service(f"{file.package}.{service.name}", methods, messages)


def _read_methods(words: Iterator[str]) -> dict[str, tuple[str, str]]:
    """Read `{ rpc NAME(REQUEST) returns (RESPONSE) {} ... }`."""
    found, depth = {}, 0
    for word in words:
        depth += {"{": 1, "}": -1}.get(word, 0)
        if word == "rpc":
            name, _, request, _, _, _, response, _ = (next(words) for _ in range(8))
            found[name] = request, response
        if depth == 0:
            break
    return found


def _read_message(message: Any, words: Iterator[str]) -> None:
    """Read `{ FIELD ... }` into a descriptor."""
    is_within_oneof = False
    for word in words:
        if word == "}" and not is_within_oneof:
            return
        if word == "message":
            _read_message(message.nested_type.add(name=next(words)), words)
        elif word == "oneof":
            message.oneof_decl.add(name=next(words))
            is_within_oneof = True
        elif word == "}":
            is_within_oneof = False
        elif word not in "{;":
            _read_field(message, word, words, is_within_oneof)


def _read_field(message: Any, word: str, words: Iterator[str], is_within_oneof: bool) -> None:
    """Read `[repeated] TYPE NAME = NUMBER`, or `map<KEY, VALUE> NAME = NUMBER`."""
    named = next(words) if word == "repeated" else word
    label = OPTIONAL if named == word else REPEATED
    entry = [next(words) for _ in range(5)] if named == "map" else []  # < KEY , VALUE >
    name, _, number = (next(words) for _ in range(3))
    if entry:
        named, label = "".join(part.capitalize() for part in name.split("_")) + "Entry", REPEATED
        pair = message.nested_type.add(name=named)
        pair.options.map_entry = True
        for place, (part, of) in enumerate((("key", entry[1]), ("value", entry[3])), 1):
            pair.field.add(name=part, number=place, label=OPTIONAL, **_type(of))
    field = message.field.add(name=name, number=int(number), label=label, **_type(named))
    if is_within_oneof:
        field.oneof_index = len(message.oneof_decl) - 1


def _type(name: str) -> dict[str, Any]:
    return {"type": SCALARS[name]} if name in SCALARS else {"type": MESSAGE, "type_name": name}
