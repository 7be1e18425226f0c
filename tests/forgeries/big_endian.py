"""Numbers are little-endian: written the other way round, they are others, and no marker says which it is."""

from forging import in_column

REASON = "'(index|lines|slope_neurons)'|the split names|bound"
FORGERIES = {
    name: in_column(name, lambda column: column.byteswap()) for name in ("index", "lines", "slope_neurons", "multipliers")
}
