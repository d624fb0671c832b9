"""Tables in device memory: pytrees and pure functions of static shapes, for the compiled loop.

They have the same items as every other table. Unlike the host's tables they can't grow: rings have the
largest size that an experience may need.
"""

from culmen.components.replay.device.tables import DeviceTables

__all__ = ['DeviceTables']
