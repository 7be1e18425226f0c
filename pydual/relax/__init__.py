"""Problems compiled for the C++ core: what every proof system relaxes."""
