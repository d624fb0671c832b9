"""Tables in another process: what actors write and learners read, whichever server keeps them.

A server keeps items, each of slices of columns of bytes, and lets writers wait by the same rules (`rules`).
An actor holds a `ServedWriter`, a learner a `ServedReader`, each with a `Connection` to the server. There are
two servers: Reverb's (culmen.components.replay.reverb) and one of plain Python
(culmen.components.replay.called).
"""

from culmen.components.replay.served.connection import Connection
from culmen.components.replay.served.reader import ServedReader
from culmen.components.replay.served.writer import ServedWriter

__all__ = ['Connection', 'ServedReader', 'ServedWriter']
