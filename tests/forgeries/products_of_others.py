"""Products of facts prove nothing but for facts of the cell, pairs that the rules allow, and multipliers of the right sign."""

from dataclasses import replace
from typing import Any

import numpy as np
from forging import PRODUCTS, Forge, in_entry, in_header, in_tree

QUESTION = PRODUCTS
REASON = "product|fact|bound|tensor|kind|lines|dtype|type|entries|column|leaf|leaves"


def with_products(*products: tuple[int, int, float]) -> Forge:
    """Other products for the leaf."""
    return with_parts(
        products=np.array([[f, g] for f, g, _ in products], np.int32).reshape(-1, 2),
        product_multipliers=np.array([rho for *_, rho in products], np.float64),
        product_counts=np.array([len(products)], np.int32),
    )


def with_parts(**parts: Any) -> Forge:
    return in_tree(lambda true: replace(true, **parts))


def counts(*numbers: int) -> Forge:
    return with_parts(product_counts=np.array(numbers, np.int32))


# Facts: 1 and 2 of the input, 3 to 6 and 7 to 10 of two neurons, 11 would be that of a ball
FORGERIES = {
    "none": with_products(),
    "a negative multiplier of a fact": with_products((0, 3, -1.0), (0, 4, 1.0)),
    "a negative multiplier of 1": with_products((0, 0, -1.0)),
    "a negative multiplier of inputs": with_products((1, 2, -1.0), (0, 4, 1.0)),
    "a negative multiplier for two neurons": with_products((3, 8, -1.0), (0, 4, 1.0)),
    "a negative multiplier of an output's square": with_products((3, 3, -1.0), (0, 4, 1.0)),
    "a negative multiplier of room": with_products((6, 4, -1.0), (0, 4, 1.0)),
    "a fact of the input twice": with_products((1, 1, 1.0), (0, 4, 1.0)),
    "facts of the input the other way round": with_products((2, 1, 1.0), (0, 4, 1.0)),
    "a fact of the input before one of a neuron": with_products((1, 3, 1.0), (0, 4, 1.0)),
    "two slacks": with_products((4, 4, 1.0), (0, 4, 1.0)),
    "slacks of two neurons": with_products((4, 8, 1.0), (0, 4, 1.0)),
    "a chord before an output": with_products((5, 3, 1.0), (0, 4, 1.0)),
    "a slack before 1": with_products((4, 0, 1.0), (0, 4, 1.0)),
    "a ball that is none": with_products((0, 11, 1.0), (0, 4, 1.0)),
    "a ball times an output": with_products((3, 11, 1.0), (0, 4, 1.0)),
    "a fact that is none": with_products((0, 12, 1.0), (0, 4, 1.0)),
    "the greatest number": with_products((0, 2**31 - 1, 1.0), (0, 4, 1.0)),
    "a negative fact": with_products((0, -1, 1.0), (0, 4, 1.0)),
    "the least number": with_products((-(2**31), 4, 1.0), (0, 4, 1.0)),
    "another neuron's fact": with_products((0, 8, 1.0)),
    "too much of it": with_products((0, 4, 1e30)),
    "no number": with_products((0, 4, np.nan)),
    "infinity": with_products((0, 4, np.inf)),
    "infinities": with_products((0, 4, np.inf), (3, 4, -np.inf)),
    "a negative count": counts(-1),
    "counts that cancel": counts(-1, 3),
    "a count too large": counts(3),
    "a count far too large": counts(2**31 - 1),
    "a count too small": counts(1),
    "no counts": counts(),
    "counts of two leaves": counts(2, 0),
    "no Gram leaf": with_parts(kind=np.zeros(1, np.uint8)),
    "no products at all": with_parts(
        products=np.zeros((0, 2), np.int32), product_multipliers=np.zeros(0), product_counts=np.zeros(0, np.int32)
    ),
    "fewer multipliers": with_parts(product_multipliers=np.ones(1)),
    "more multipliers": with_parts(product_multipliers=np.ones(3)),
    "multipliers in bytes": with_parts(product_multipliers=np.ones(2, np.uint8)),
    "multipliers in integers": with_parts(product_multipliers=np.ones(2, np.int32)),
    "counts in bytes": with_parts(product_counts=np.array([2], np.uint8)),
    "facts in bytes": with_parts(products=np.array([[0, 4], [3, 4]], np.uint8)),
    "facts in floats": with_parts(products=np.array([[0, 4], [3, 4]], np.float32)),
    "three facts": with_parts(products=np.array([[0, 4, 4], [3, 4, 4]], np.int32)),
    "facts in one row": with_parts(products=np.array([0, 4, 3, 4], np.int32)),
    "transposed": in_entry("0/products", shape=[1, 4]),
    "the tensor of another problem": in_header(lambda header: header.update({"1/products": header.pop("0/products")})),
    "the facts left out": in_header(lambda header: header.pop("0/products")),
    "the counts left out": in_header(lambda header: header.pop("0/product_counts")),
}
