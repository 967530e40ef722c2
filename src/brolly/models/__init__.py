"""Small named architectures with normalisation inside, and loading a user's own."""

from ._black_box import BlackBox as BlackBox
from ._black_box import QueryBudgetExhausted as QueryBudgetExhausted
from ._bpda import BPDA as BPDA
from ._convolutional import LeNet as LeNet
from ._convolutional import SmallCNN as SmallCNN
from ._dense import MLP as MLP
from ._dense import SoftmaxRegression as SoftmaxRegression
from ._fold import fold_batchnorm as fold_batchnorm
from ._load import load_model as load_model
from ._normalize import Normalize as Normalize
from ._outputs import PROBABILITIES as PROBABILITIES
from ._outputs import are_probabilities as are_probabilities
from ._outputs import check_logits as check_logits
from ._resnet import ResNet as ResNet
