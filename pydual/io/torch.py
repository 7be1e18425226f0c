"""PyTorch modules as networks, through torch.fx."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pydual.errors import InputError, PydualError, UnsupportedError
from pydual.io.torch_operators import FUNCTIONS, METHODS, MODULES
from pydual.network import Network
from pydual.operators.primitives import GraphBuilder, Value


def from_torch(module: Any, input_shape: Sequence[int] | None = None) -> Network:
    """The network of a torch module as it computes in eval mode; the module itself is left as it is.

    ``input_shape`` is the shape of one input without the batch dimension; it may be omitted if the first layer is
    Linear. Input and output of the network have a batch dimension of 1. Parameters must be all float32 or all float64.
    The translation is compared with the module at random inputs. Raises InputError for shapes that do not fit and
    UnsupportedError, naming it, for a module or function that is not supported.
    """
    module = _copy(module)
    element_type = _element_type(module)
    graph = GraphBuilder((1, *(_input_shape(module) if input_shape is None else map(int, input_shape))))
    output = _translate(_trace(module), module, graph, element_type)
    network = Network.from_graph(graph, output, element_type)
    _compare(network, module)
    return network


def _copy(module: Any) -> Any:
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"from_torch takes a torch.nn.Module; got {type(module).__name__}.")
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            raise UnsupportedError(f"The module '{name}' has forward hooks (such as weight norm); remove them first.")
    module = copy.deepcopy(module).eval()
    return torch.nn.Sequential(module) if _is_plain(module) else module


def _element_type(module: Any) -> str:
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    types = {t.dtype for t in tensors if t.is_floating_point()} or {torch.get_default_dtype()}
    names = sorted(str(t).removeprefix("torch.") for t in types)
    if names not in (["float32"], ["float64"]):
        raise UnsupportedError(f"The parameters have the types {names}; convert all with .float() or .double().")
    return names[0]


def _input_shape(module: Any) -> tuple[int, ...]:
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            return (part.in_features,)
        if not isinstance(part, torch.nn.Sequential | torch.nn.Identity | torch.nn.Dropout) and part is not module:
            break
    raise InputError("The input's shape is not evident from the first layer; pass input_shape, without the batch.")


def _trace(module: Any) -> Any:
    import torch.fx

    try:
        return torch.fx.symbolic_trace(module).graph
    except Exception as error:
        raise UnsupportedError(
            f"torch.fx cannot trace the module ({_one_line(error)}); forward must not branch on the values of tensors."
        ) from None


def _translate(traced: Any, module: Any, graph: GraphBuilder, element_type: str) -> Value:
    from torch.fx.node import map_arg

    traced.eliminate_dead_code()
    results: dict[Any, Any] = {}
    for node in traced.nodes:
        args, kwargs = map_arg((node.args, node.kwargs), results.__getitem__)
        graph.name = node.name
        if node.op == "placeholder":
            results[node] = _input(node, graph, results)
        elif node.op == "get_attr":
            results[node] = _attribute(module, node.target)
        elif node.op == "output":
            if not isinstance(args[0], Value):
                raise UnsupportedError("The module must return one tensor that depends on its input.")
            return args[0]
        else:
            results[node] = _call(graph, node, module, args, kwargs, element_type)
    raise InputError("The module returns nothing.")


def _input(node: Any, graph: GraphBuilder, results: dict[Any, Any]) -> Any:
    if not any(isinstance(value, Value) for value in results.values()):
        return graph.input
    if node.args:
        return node.args[0]
    raise UnsupportedError(f"The module takes a second input '{node.target}'; wrap it in a module with one input.")


def _attribute(module: Any, target: str) -> Any:
    for name in target.split("."):
        module = getattr(module, name)
    return module


def _call(graph: GraphBuilder, node: Any, module: Any, args: Any, kwargs: Any, element_type: str) -> Any:
    """The result of one call; what does not depend on the input is left to torch."""
    if node.op != "call_module" and not _depends((args, kwargs)):
        return _call_torch(graph, node, args, kwargs)
    name, handler, options = _handler(node, module)
    if handler is None:
        known = ", ".join(sorted({*MODULES, *FUNCTIONS, *METHODS}))
        raise UnsupportedError(f"The node '{node.name}' uses {name}, which is not supported; supported are {known}.")
    options = {**options, **kwargs}
    if options.pop("inplace", False) and any(len(source.users) > 1 for source in node.all_input_nodes):
        raise UnsupportedError(f"The node '{node.name}' changes in place what others use; set inplace=False.")
    try:
        with np.errstate(all="ignore"):  # a network refuses weights that are not finite
            return handler(graph, *_constants(args, element_type), **_constants(options, element_type))
    except PydualError as error:
        raise type(error)(f"The node '{node.name}' ({name}): {error}.") from None
    except Exception as error:
        raise UnsupportedError(f"The node '{node.name}' ({name}) cannot be used so ({_one_line(error)}).") from None


def _call_torch(graph: GraphBuilder, node: Any, args: Any, kwargs: Any) -> Any:
    try:
        function = node.target if node.op == "call_function" else getattr(type(args[0]), node.target)
        result = function(*args, **kwargs)
    except Exception as error:
        raise InputError(f"The node '{node.name}' fails ({_one_line(error)}); check the input's shape.") from None
    if not _only_moves(result, (args, kwargs)):
        graph.fold()
    return result


def _only_moves(result: Any, arguments: Any) -> bool:
    """Whether each float of a result is among the arguments, so that nothing was rounded."""
    known = np.concatenate([np.zeros(1), *_floats(arguments)])
    return all(np.isin(part, known).all() for part in _floats(result))


def _floats(argument: Any) -> list[np.ndarray]:
    import torch

    if isinstance(argument, dict):
        argument = list(argument.values())
    if isinstance(argument, list | tuple):
        return [array for part in argument for array in _floats(part)]
    if isinstance(argument, torch.Tensor) and argument.is_floating_point():
        return [argument.detach().cpu().double().numpy().ravel()]
    return [np.array([argument])] if isinstance(argument, float) else []


def _handler(node: Any, module: Any) -> tuple[str, Callable[..., Any] | None, dict[str, Any]]:
    """What a node calls: its name, its handler or None, and the options that a module holds."""
    if node.op == "call_method":
        return node.target, METHODS.get(node.target), {}
    if node.op == "call_function":
        return *_function_handler(node.target), {}
    part = module.get_submodule(node.target)
    name = type(part).__name__
    if not _is_plain(part):
        return name, None, {}
    handler, attributes = MODULES[name]
    options = {attribute: getattr(part, attribute) for attribute in attributes}
    return name, handler, {**options, "inplace": getattr(part, "inplace", False)}


def _depends(argument: Any) -> bool:
    if isinstance(argument, dict):
        argument = list(argument.values())
    if isinstance(argument, list | tuple):
        return any(_depends(part) for part in argument)
    return isinstance(argument, Value)


def _is_plain(part: Any) -> bool:
    """Whether a module is of exactly a class of torch.nn in the table; subclasses may compute something else."""
    import torch

    name = type(part).__name__
    return name in MODULES and type(part) is getattr(torch.nn, name)


def _function_handler(target: Any) -> tuple[str, Callable[..., Any] | None]:
    import operator

    import torch

    if target is getattr:
        return "getattr", METHODS["getattr"]
    for name, handler in FUNCTIONS.items():
        for namespace in (operator, torch, torch.nn.functional):
            if getattr(namespace, name, None) is target:
                return name, handler
    return getattr(target, "__name__", str(target)), None


def _constants(argument: Any, element_type: str) -> Any:
    """Tensors as arrays, and floats rounded to the element type as torch does, inside of any argument."""
    import torch

    if isinstance(argument, dict):
        return {key: _constants(value, element_type) for key, value in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_constants(part, element_type) for part in argument)
    if isinstance(argument, torch.Tensor):
        return argument.detach().cpu().numpy().astype(np.float64 if argument.is_floating_point() else np.int64)
    return float(np.dtype(element_type).type(argument)) if isinstance(argument, float) else argument


def _compare(network: Network, module: Any) -> None:
    """Run the module itself at a few inputs: tracing follows neither aliases nor state."""
    import torch

    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(network.input_shape).astype(network.element_type)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = module(torch.from_numpy(x.copy())).double().numpy()
        except Exception as error:
            shape = network.input_shape
            raise InputError(f"The module fails at an input of shape {shape} ({_one_line(error)}).") from None
        y = network.evaluate(x.ravel())
        scale = 1.0 + np.abs(expected).max(initial=0.0)
        if expected.shape != network.output_shape or not np.abs(y - expected.ravel()).max(initial=0.0) <= 1e-3 * scale:
            raise UnsupportedError(
                "The module does not compute what torch.fx recorded; avoid in-place operations and state in forward."
            )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
