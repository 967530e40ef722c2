"""brolly trains PyTorch networks that stay right under perturbation, and proves how right.

The names below are loaded when they are first used, so that `import brolly` costs next to
nothing and `brolly --help` needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
