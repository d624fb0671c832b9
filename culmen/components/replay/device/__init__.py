"""Tables in device memory: pytrees and pure functions of static shapes, for the compiled loop.

The items are those of every other table. What the host's tables do as they grow is settled before:
rings have the size that an experience can ask for at most.
"""

from culmen.components.replay.device.tables import DeviceTables

__all__ = ['DeviceTables']
