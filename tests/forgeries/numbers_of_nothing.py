"""A split on an input or neuron that the network does not have splits nothing, or reads what lies beside it."""

from forging import with_entry

REASON = "'index'|the split names"
FORGERIES = {
    "a neuron": with_entry("index", 1, 2),
    "the last neuron of all": with_entry("index", 1, 2**31 - 1),
    "the last neuron, counted from the end": with_entry("index", 1, -1),
    "an input": with_entry("index", 0, 1),
    "the last input, counted from the end": with_entry("index", 0, -1),
    "the least number": with_entry("index", 0, -(2**31)),
}
