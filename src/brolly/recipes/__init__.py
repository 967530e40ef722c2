"""Recipes: training runs as text, from names to objects."""

from ._recipe import SHIPPED as SHIPPED
from ._recipe import Recipe as Recipe
from ._run import build_data as build_data
from ._run import build_model as build_model
from ._run import load_run as load_run
from ._run import train_recipe as train_recipe
