"""The counter of a loop's steps and episodes."""


class StepCounter:
    """Counts the steps of a loop, and the episodes that ended in it.

    In a program `actor_steps` counts the steps of all actors, as last reported to this one.
    """

    def __init__(self, actor_steps: int = 0) -> None:
        """Args: actor_steps: so far."""
        self.actor_steps = actor_steps
        self.episodes = 0

    def add(self, actor_steps: int, episodes: int) -> None:
        """Adds the counts of a tick. Args: actor_steps: of all lanes. episodes: that ended."""
        self.actor_steps += actor_steps
        self.episodes += episodes
