"""Recipes: training runs as text, from names to objects."""

from ._learning_curve import LearningCurve as LearningCurve
from ._learning_curve import SizePoint as SizePoint
from ._learning_curve import learning_curve as learning_curve
from ._obfuscate_run import obfuscate_run as obfuscate_run
from ._obfuscate_run import origin_of_weights as origin_of_weights
from ._rate_range import range_of_recipe as range_of_recipe
from ._recipe import Data as Data
from ._recipe import Recipe as Recipe
from ._run import DryRun as DryRun
from ._run import build_data as build_data
from ._run import build_model as build_model
from ._run import build_objective as build_objective
from ._run import dry_run as dry_run
from ._run import load_run as load_run
from ._run import train_recipe as train_recipe
from ._sweep import sweep as sweep
from ._sweep_result import Configuration as Configuration
from ._sweep_result import Spread as Spread
from ._sweep_result import Sweep as Sweep
from ._sweep_result import Trial as Trial
from ._sweep_result import pareto_front as pareto_front
from ._sweep_result import read_values as read_values
from ._text import SHIPPED as SHIPPED
