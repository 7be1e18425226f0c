"""Engines that know vectors and cones, not networks."""
