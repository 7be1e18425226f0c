"""The dual as statistics: bounds on the probability of a catastrophe, from samples. Nothing here is a proof."""
