"""The primal player: search for attacks on the real model, and their replay outside the search."""
