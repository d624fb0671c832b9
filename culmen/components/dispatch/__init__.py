"""Makes compiled calls cheap: for a small network, the call itself takes longer than the computation.

State passes from call to call in few arrays (packing.py, contexts.py). Calls are compiled for small networks
(compiling.py) and run in the calling thread (inline.py), or in threads of their own if they are long
(threads.py). `plainly` turns all of this off.
"""

from culmen.components.dispatch.compiling import compile_lazily
from culmen.components.dispatch.compiling import distinct
from culmen.components.dispatch.compiling import in_one_thread
from culmen.components.dispatch.contexts import Contexts
from culmen.components.dispatch.contexts import PackedContext
from culmen.components.dispatch.contexts import unpack_context
from culmen.components.dispatch.cores import usable_cores
from culmen.components.dispatch.inline import allow_inline
from culmen.components.dispatch.inline import run_small_networks_inline
from culmen.components.dispatch.packing import Layout
from culmen.components.dispatch.packing import Packed
from culmen.components.dispatch.packing import pack
from culmen.components.dispatch.packing import unpacked
from culmen.components.dispatch.switch import is_fast
from culmen.components.dispatch.switch import plainly
from culmen.components.dispatch.threads import DirectCall
from culmen.components.dispatch.threads import ThreadedCall
from culmen.components.dispatch.threads import threaded_call

__all__ = [
    'Contexts',
    'DirectCall',
    'Layout',
    'Packed',
    'PackedContext',
    'ThreadedCall',
    'allow_inline',
    'compile_lazily',
    'distinct',
    'in_one_thread',
    'is_fast',
    'pack',
    'plainly',
    'run_small_networks_inline',
    'threaded_call',
    'unpack_context',
    'unpacked',
    'usable_cores',
]
