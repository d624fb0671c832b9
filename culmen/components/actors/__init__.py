"""The actor worker, which runs any ActorCore on one lane or many."""

from culmen.components.actors.actor import Actor

__all__ = ['Actor']
