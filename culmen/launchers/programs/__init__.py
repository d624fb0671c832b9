"""Programs: a run is spread over nodes that call each other, on any engine.

    program     an experiment and its distribution over nodes, as data
    topology    the nodes, and which node calls which
    nodes/      what each node does
    remote      calls of another node; connections carries them between processes
    running     what an engine calls in a node's process or thread
    stops       when a node should end; pulses: whether it makes progress
    supervisor  starts, watches and ends nodes as threads or processes
    keeper      starts nodes again that failed, as faults says
    launching   a whole launch, given an Engine

An engine is one file (culmen.launchers.launchpad): it starts each node of a `Job`.
"""
