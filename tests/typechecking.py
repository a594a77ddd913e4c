"""How annotations are enforced in the tests: an int will do for a float, as in type checkers."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
