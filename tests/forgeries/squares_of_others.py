"""Squares prove nothing but times facts of the cell, in variables of the leaf, where all the rest is written out exactly."""

from dataclasses import replace
from typing import Any

import numpy as np
from forging import SQUARES, Forge, in_entry, in_header, in_proof, in_tree

QUESTION = SQUARES
REFUSED_BY = ("rounded",)
REASON = (
    "polynomial|fact|bound|tensor|variable|kind|lines|dtype|type|entries|leaf|sos_|float32|range|JSON|index|too short|longer"
)


def with_parts(**parts: Any) -> Forge:
    return in_tree(lambda true: replace(true, **parts))


def with_terms(*terms: tuple[int, int, int, list[float]], variables: tuple[int, ...] = (0, 1)) -> Forge:
    """Other terms for the leaf, each with its coefficients."""
    return with_parts(
        sos_sizes=np.array([[len(variables), len(terms)]], np.int32),
        sos_variables=np.array(variables, np.int32),
        sos_terms=np.array([term[:3] for term in terms], np.int32).reshape(-1, 3),
        sos_coefficients=np.array([c for *_, coefficients in terms for c in coefficients], np.float64),
    )


def sizes(*rows: tuple[int, int]) -> Forge:
    return with_parts(sos_sizes=np.array(rows, np.int32).reshape(-1, 2))


SQUARE, PRODUCT, EQUATION = (0, 0, 1, [-1.0, 0.0, 1.0]), (3, 2, 0, [1.0]), (3, 4, 1, [-1.0, 0.0, 0.0])
SLACK = (0, 4, 0, [2.0])
NAMES = ("sos_sizes", "sos_variables", "sos_terms", "sos_coefficients")

# Facts: 1 and 2 of the input, 3 to 6 and 7 to 10 of two neurons, 11 would be that of a ball
FORGERIES = {
    "no terms": with_terms(),
    "no slack": with_terms(SQUARE, PRODUCT, EQUATION),
    "a slack alone": with_terms((0, 4, 0, [1.0])),
    "the square alone": with_terms(SQUARE, SLACK),
    "no square": with_terms(PRODUCT, EQUATION, SLACK),
    "no equation": with_terms(SQUARE, PRODUCT, SLACK),
    "the equation the other way round": with_terms(SQUARE, PRODUCT, (4, 3, 1, [-1.0, 0.0, 0.0]), SLACK),
    "an equation of two neurons": with_terms(SQUARE, PRODUCT, (3, 8, 1, [-1.0, 0.0, 0.0]), SLACK, variables=(0, 1)),
    "the square of a slack": with_terms(SQUARE, PRODUCT, (4, 4, 1, [-1.0, 0.0, 0.0]), SLACK),
    "an equation with the other sign": with_terms(SQUARE, PRODUCT, (3, 4, 1, [1.0, 0.0, 0.0]), SLACK),
    "another fact": with_terms(SQUARE, (3, 1, 0, [1.0]), EQUATION, SLACK),
    "another square": with_terms((0, 0, 1, [-1.0, 1.0, 0.0]), PRODUCT, EQUATION, SLACK),
    "a larger square": with_terms((0, 0, 1, [-1.5, 0.0, 1.0]), PRODUCT, EQUATION, SLACK),
    "an open neuron": with_terms(SQUARE, PRODUCT, EQUATION, SLACK, variables=(0, 2)),
    "an open neuron in a fact": with_terms(SQUARE, PRODUCT, EQUATION, (0, 7, 0, [1.0]), SLACK),
    "no neuron": with_terms((0, 0, 1, [-1.0, 0.0]), (3, 2, 0, [1.0]), SLACK, variables=(0,)),
    "no variables": with_terms((0, 0, 0, [1.0]), SLACK, variables=()),
    "a variable twice": with_terms(SQUARE, PRODUCT, EQUATION, SLACK, variables=(1, 1)),
    "a variable that is none": with_terms(SQUARE, PRODUCT, EQUATION, SLACK, variables=(0, 3)),
    "a negative variable": with_terms(SQUARE, PRODUCT, EQUATION, SLACK, variables=(-1, 1)),
    "a ball that is none": with_terms(SQUARE, PRODUCT, EQUATION, (0, 11, 0, [1.0]), SLACK),
    "a fact that is none": with_terms(SQUARE, PRODUCT, EQUATION, (12, 0, 0, [1.0]), SLACK),
    "the greatest fact": with_terms(SQUARE, PRODUCT, EQUATION, (0, 2**31 - 1, 0, [1.0]), SLACK),
    "a negative fact": with_terms(SQUARE, PRODUCT, EQUATION, (0, -1, 0, [1.0]), SLACK),
    "degree 9": with_terms(SQUARE, PRODUCT, EQUATION, (0, 0, 9, [0.0] * 55), SLACK),
    "a degree without end": with_terms(SQUARE, PRODUCT, EQUATION, (0, 0, 2**31 - 1, [0.0]), SLACK),
    "a negative degree": with_terms(SQUARE, PRODUCT, EQUATION, (0, 0, -1, []), SLACK),
    "another degree": with_terms(SQUARE, PRODUCT, (3, 4, 2, [-1.0, 0.0, 0.0]), SLACK),
    "no number": with_terms((0, 0, 1, [-1.0, 0.0, np.nan]), PRODUCT, EQUATION, SLACK),
    "infinity": with_terms((0, 0, 1, [-1.0, 0.0, np.inf]), PRODUCT, EQUATION, SLACK),
    "too much of it": with_terms((0, 0, 1, [-1.0, 0.0, 1e300]), PRODUCT, EQUATION, SLACK),
    "fewer coefficients": with_parts(sos_coefficients=np.array([-1.0, 0.0, 1.0, 1.0, -1.0, 0.0, 0.0])),
    "more coefficients": with_parts(sos_coefficients=np.array([-1.0, 0.0, 1.0, 1.0, -1.0, 0.0, 0.0, 2.0, 0.0])),
    "coefficients in float32": with_parts(sos_coefficients=np.zeros(8, np.float32)),
    "terms in floats": with_parts(sos_terms=np.zeros((4, 3))),
    "terms of two numbers": with_parts(sos_terms=np.zeros((4, 2), np.int32)),
    "a negative size": sizes((2, -1)),
    "more variables": sizes((3, 4)),
    "variables without end": sizes((2**31 - 1, 4)),
    "more terms": sizes((2, 5)),
    "terms without end": sizes((2, 2**31 - 1)),
    "fewer terms": sizes((2, 3)),
    "no sizes": sizes(),
    "sizes of two leaves": sizes((2, 4), (0, 0)),
    "a linear leaf": with_parts(kind=np.zeros(1, np.uint8)),
    "a Gram leaf": with_parts(kind=np.full(1, 3, np.uint8)),
    "in float32": in_proof(arithmetic="float32"),
    "no tensors": in_header(lambda header: [header.pop(f"0/{name}") for name in NAMES]),
    "of another problem": in_header(lambda header: header.update({"1/sos_terms": header.pop("0/sos_terms")})),
    "the sizes left out": in_header(lambda header: header.pop("0/sos_sizes")),
    "terms in one row": in_entry("0/sos_terms", shape=[12]),
}
