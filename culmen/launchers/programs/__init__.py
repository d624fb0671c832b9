"""Programs: a run spread over nodes that call each other, whatever engine carries them.

    program     an experiment and how it is spread, as data
    topology    the nodes, and who calls whom
    nodes/      what each node does
    remote      calls of another node; connections carries them between processes
    running     what an engine calls in a node's process or thread
    supervisor  nodes as threads and processes: started, watched, ended
    launching   a whole launch, given an Engine

An engine is one file (culmen.launchers.launchpad): it starts each node of a `Job`.
"""
