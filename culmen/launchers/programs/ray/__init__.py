"""What Ray does for programs and many runs: a cluster, its actors, and nodes in them.

Ray is imported only when something here is called. These modules, `culmen.launchers.ray` and
`culmen.launchers.ray_runs` alone know it.
"""
