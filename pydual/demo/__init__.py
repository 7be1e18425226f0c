"""The demo: attacks, certificates and relaxed attacks on a small classifier of digits that ships with it."""
