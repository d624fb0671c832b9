"""The Reverb table: the items of the in-process table, kept by a server that many processes share.

`ReverbServer` keeps them, `ReverbWriter` is what an actor holds, `ReverbReader` what a learner holds, and
`ReverbTable` is all three in one process. Reverb is imported when one of them is made, never before.
"""

from culmen.components.replay.reverb.engine import require_reverb
from culmen.components.replay.reverb.reader import ReverbReader
from culmen.components.replay.reverb.server import ReverbServer
from culmen.components.replay.reverb.table import ReverbTable
from culmen.components.replay.reverb.writer import ReverbWriter

__all__ = ['ReverbReader', 'ReverbServer', 'ReverbTable', 'ReverbWriter', 'require_reverb']
