"""Programs over several machines: who runs what, and how the machines find, trust and follow each other.

    file       the file that names hosts and what runs where
    key        the program's key, as the person gives it
    gathering  the host of the learner: the others join it, and do what it wants
    joining    another host: joins, and starts, watches and ends its nodes
    ssh        starts the others over SSH, and carries calls through tunnels

The host of the learner decides, and the others obey: a host's agent starts, asks and kills the nodes that
it is told to, and tells how they are. Calls go over `connections`; nothing here schedules or stores.
"""
