"""Search in trees of actions by a model, by the package mctx (extra `search`), which is imported on use."""

from culmen.components.search.tree import Found
from culmen.components.search.tree import Gumbel
from culmen.components.search.tree import Model
from culmen.components.search.tree import Prediction
from culmen.components.search.tree import Puct
from culmen.components.search.tree import Root
from culmen.components.search.tree import require
from culmen.components.search.tree import tree_search

__all__ = [
    'Found',
    'Gumbel',
    'Model',
    'Prediction',
    'Puct',
    'Root',
    'require',
    'tree_search',
]
