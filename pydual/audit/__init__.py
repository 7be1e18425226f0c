"""Audits: they decide whether a certificate proves what it claims; PROOFS.md says when."""
