"""The Reverb table: the same items as in the in-process table, kept by a server for many processes.

`ReverbServer` keeps them, an actor holds a `ReverbWriter`, a learner holds a `ReverbReader`, and
`ReverbTable` is all three in one process. Reverb is imported only when one of them is made.
"""

from culmen.components.replay.reverb.ends import ReverbReader
from culmen.components.replay.reverb.ends import ReverbWriter
from culmen.components.replay.reverb.engine import require_reverb
from culmen.components.replay.reverb.server import ReverbServer
from culmen.components.replay.reverb.table import ReverbTable

__all__ = ['ReverbReader', 'ReverbServer', 'ReverbTable', 'ReverbWriter', 'require_reverb']
