"""How the annotations of brolly are checked while its tests run."""

from beartype import BeartypeConf, beartype

#: As everywhere in Python, a whole number may stand for a floating point number.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
