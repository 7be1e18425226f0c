"""The operators of networks, each with its exact translation into the primitives affine and relu."""
