"""Tables that a process of plain Python keeps for others, which call it: no Reverb, on any system.

`CalledServer` keeps the items of an experience. Whoever writes or draws holds a `CalledConnection`, which
calls the server's methods, in this process or in another.
"""

from culmen.components.replay.called.connection import CalledConnection
from culmen.components.replay.called.server import CalledServer

__all__ = ['CalledConnection', 'CalledServer']
