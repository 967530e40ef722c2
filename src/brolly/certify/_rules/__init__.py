"""How each operation acts on bounds; importing this fills the table of rules."""

from . import _activations as _activations
from . import _linear as _linear
from . import _moves as _moves
from . import _pooling as _pooling
from . import _values as _values
