"""Slopes must belong to neurons of the network, one each: which of two counts would be the reader's choice."""

import numpy as np
from forging import in_column, with_columns, with_entry

REASON = "slope_neurons"
FORGERIES = {
    "a neuron that the network does not have": with_entry("slope_neurons", 0, 2),
    "the last neuron, counted from the end": with_entry("slope_neurons", 0, -1),
    "two slopes for one neuron": with_columns(slopes=np.ones((2, 2)), slope_neurons=[1, 1]),
    "more slopes than neurons": with_columns(slopes=np.ones((2, 10**5)), slope_neurons=[0] * 10**5),
    "fewer slopes than neurons listed": in_column("slope_neurons", lambda n: np.append(n, 0).astype(np.int32)),
    "a slope for a neuron that is not listed": with_columns(slopes=np.ones((2, 2))),
}
