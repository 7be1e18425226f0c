"""ONNX files as bytes and protocol buffers: gzip, external data, damaged files."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydual.errors import InputError
from pydual.io.paths import as_path

MAX_UNZIPPED = 2**28  # bytes of a gzipped model: a small file may hold any number of them


def read_model(path: str | os.PathLike[str]) -> tuple[Any, bytes]:
    """The ONNX model in a file, which may be gzipped, and its self-contained bytes (external data included).

    Raises InputError where the file is missing or damaged, or refers to data outside its folder.
    """
    path = as_path(path, "model.onnx")
    data = _read(path)
    model = parse_model(data, str(path))
    external = [tensor for tensor in _tensors(model.graph) if _is_external(tensor)]
    if external:
        for tensor in external:
            _load_external(tensor, path)
        data = _serialize(model, path)
    return model, data


def parse_model(data: bytes, source: str) -> Any:
    """The ONNX model in uncompressed bytes; ``source`` names them in the InputError for damaged ones."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{source} is no ONNX model, or damaged ({error}); export or download it again.") from None
    if not model.graph.output:
        raise InputError(f"{source} is not a complete ONNX model (it has no output); export or download it again.")
    return model


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                data = file.read(MAX_UNZIPPED + 1)
            if len(data) > MAX_UNZIPPED:
                raise InputError(f"{path} has more than {MAX_UNZIPPED} bytes when decompressed; decompress it first.")
        return data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); compress or download it again.") from None
    except OSError as error:
        raise InputError(f"Cannot read the model {path}: {error.strerror or error}; check the path.") from None


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph, with those in attributes and subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(inner)


def _is_external(tensor: Any) -> bool:
    return tensor.data_location == tensor.EXTERNAL


def _load_external(tensor: Any, path: Path) -> None:
    """Read a tensor's external data into it, if they lie in the model's folder, symbolic links resolved."""
    from onnx.external_data_helper import load_external_data_for_tensor

    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.resolve().parent
    try:
        target = (folder / location).resolve()
        inside = bool(location) and not Path(location).is_absolute() and ".." not in Path(location).parts
        if not (inside and target.is_relative_to(folder)):
            raise InputError(
                f"The tensor '{tensor.name}' of {path} has its data at '{location}', outside the model's folder; "
                "move the data file beside the model and refer to it by its name."
            )
        load_external_data_for_tensor(tensor, str(folder))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The external data of the tensor '{tensor.name}' of {path} cannot be read from '{location}' ({error}); "
            "copy the data file beside the model."
        ) from None
    tensor.data_location = tensor.DEFAULT
    del tensor.external_data[:]


def _serialize(model: Any, path: Path) -> bytes:
    try:
        return model.SerializeToString()
    except ValueError as error:
        raise InputError(f"{path} with its external data is too large for one ONNX file ({error}).") from None
