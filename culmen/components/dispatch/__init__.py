"""How compiled calls are made cheaply: a small network computes for less time than its call takes."""

from culmen.components.dispatch.compiling import compile_lazily
from culmen.components.dispatch.compiling import distinct
from culmen.components.dispatch.compiling import in_one_thread
from culmen.components.dispatch.compiling import run_small_networks_inline
from culmen.components.dispatch.compiling import usable_cores
from culmen.components.dispatch.contexts import Contexts
from culmen.components.dispatch.contexts import unpack_context
from culmen.components.dispatch.packing import Layout
from culmen.components.dispatch.packing import Packed
from culmen.components.dispatch.packing import pack
from culmen.components.dispatch.packing import unpacked

__all__ = [
    'Contexts',
    'Layout',
    'Packed',
    'compile_lazily',
    'distinct',
    'in_one_thread',
    'pack',
    'run_small_networks_inline',
    'unpack_context',
    'unpacked',
    'usable_cores',
]
