"""The demo: attacks, certificates and relaxed attacks on a small classifier of handwritten digits that ships with it."""
