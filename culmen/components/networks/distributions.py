"""Distributions over actions, which a policy gives, as trees of arrays.

Each is a named tuple of its parameters, so it passes through `jax.vmap`, is stored in extras and is cut
and indexed like any other tree. The formulas are those of `culmen.components.losses`.

A distribution is over draws: of a choice the number of a value, counted from 0; of a box numbers in units of
it, whose bounds are -1 and 1. Draws of a DiagonalGaussian are not bounded, so that their density is the
normal's. `culmen.components.networks.policy_heads` makes the distribution over the actions of an environment,
and actions of its draws.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.networks.tanh_gaussian import TanhGaussian
from culmen.core.types import Array
from culmen.core.types import Nest


class Categorical(NamedTuple):
    """A distribution over num_actions actions."""

    logits: Array  # float32[..., num_actions]

    def sample(self, key: jax.Array) -> jax.Array:
        """int32[...]: actions drawn with one key for all."""
        return losses.softmax().sample(key, self.logits).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """int32[...]: the likeliest actions, the first of equals."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...] of actions int32[...]."""
        return losses.softmax().logprob(action, self.logits)

    def entropy(self) -> jax.Array:
        """float32[...]."""
        return losses.softmax().entropy(self.logits)

    def kl(self, other: 'Categorical') -> jax.Array:
        """float32[...]: the divergence KL(self, other)."""
        return losses.categorical_kl_divergence(jnp.asarray(self.logits), jnp.asarray(other.logits))

    def only(self, allowed: Array) -> 'Categorical':
        """The distribution without actions that are not allowed. Args: allowed: bool[..., num_actions]."""
        logits = jnp.asarray(self.logits)
        return Categorical(jnp.where(allowed, logits, jnp.finfo(logits.dtype).min))


class Categoricals(NamedTuple):
    """A distribution over N independent choices, each with V values at most."""

    logits: Array  # float32[..., N, V]: the least float at values that a choice does not have

    def sample(self, key: jax.Array) -> jax.Array:
        """int32[..., N], drawn with one key for all."""
        return Categorical(self.logits).sample(key)

    def mode(self) -> jax.Array:
        """int32[..., N]: the likeliest values, the first of equals."""
        return Categorical(self.logits).mode()

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...] of int32[..., N]: the sum over the choices."""
        chosen = jnp.asarray(action).astype(jnp.int32)
        return jnp.sum(Categorical(self.logits).log_prob(chosen), axis=-1)

    def entropy(self) -> jax.Array:
        """float32[...]: the sum over the choices."""
        return jnp.sum(Categorical(self.logits).entropy(), axis=-1)

    def kl(self, other: 'Categoricals') -> jax.Array:
        """float32[...]: the divergence KL(self, other), the sum over the choices."""
        return jnp.sum(Categorical(self.logits).kl(Categorical(other.logits)), axis=-1)

    def only(self, allowed: Array) -> 'Categoricals':
        """The distribution without values that are not allowed. Args: allowed: bool[..., N, V]."""
        return Categoricals(Categorical(self.logits).only(allowed).logits)


class Bernoulli(NamedTuple):
    """A distribution over N independent choices of two values."""

    logits: Array  # float32[..., N]: the log-odds of 1

    def sample(self, key: jax.Array) -> jax.Array:
        """int32[..., N], drawn with one key for all."""
        uniform = jax.random.uniform(key, jnp.shape(self.logits), jnp.float32)
        return (uniform < jax.nn.sigmoid(self.logits)).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """int32[..., N]: the likelier values, 0 of equals."""
        return (jnp.asarray(self.logits) > 0).astype(jnp.int32)

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...] of int32[..., N] or bool[..., N]: the sum over the choices."""
        is_one = jnp.asarray(action).astype(bool)
        signed = jnp.where(is_one, self.logits, jnp.negative(self.logits))
        return jnp.sum(jax.nn.log_sigmoid(signed), axis=-1)

    def entropy(self) -> jax.Array:
        """float32[...]: the sum over the choices."""
        logits = jnp.asarray(self.logits)
        return jnp.sum(jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits), axis=-1)

    def kl(self, other: 'Bernoulli') -> jax.Array:
        """float32[...]: the divergence KL(self, other), the sum over the choices."""
        log_ratios = [
            jax.nn.sigmoid(sign * self.logits)
            * (jax.nn.log_sigmoid(sign * self.logits) - jax.nn.log_sigmoid(sign * other.logits))
            for sign in (1.0, -1.0)
        ]
        return jnp.sum(log_ratios[0] + log_ratios[1], axis=-1)

    def only(self, allowed: Array) -> 'Bernoulli':
        """The distribution without values that are not allowed. Args: allowed: bool[..., N, 2]."""
        logits, allowed = jnp.asarray(self.logits), jnp.asarray(allowed)
        largest = jnp.finfo(logits.dtype).max
        logits = jnp.where(allowed[..., 1], logits, -largest)
        return Bernoulli(jnp.where(allowed[..., 0], logits, largest))


class DiagonalGaussian(NamedTuple):
    """A normal distribution over D independent numbers."""

    mean: Array  # float32[..., D]
    log_scale: Array  # float32[..., D]: of the standard deviation

    def sample(self, key: jax.Array) -> jax.Array:
        """float32[..., D], drawn with one key for all."""
        return losses.gaussian_diagonal().sample(key, self.mean, jnp.exp(self.log_scale))

    def mode(self) -> jax.Array:
        """float32[..., D]: the means."""
        return jnp.asarray(self.mean)

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...]: log-densities of float32[..., D]."""
        return losses.gaussian_diagonal().logprob(action, self.mean, jnp.exp(self.log_scale))

    def entropy(self) -> jax.Array:
        """float32[...]."""
        return losses.gaussian_diagonal().entropy(self.mean, jnp.exp(self.log_scale))

    def kl(self, other: 'DiagonalGaussian') -> jax.Array:
        """float32[...]: the divergence KL(self, other)."""
        return losses.gaussian_diagonal().kl(
            self.mean, jnp.exp(self.log_scale), other.mean, jnp.exp(other.log_scale)
        )


class Product(NamedTuple):
    """Independent distributions, one for each leaf of a nest of draws.

    Log-probabilities, entropies and divergences are sums over the leaves.
    """

    parts: Nest  # a nest of distributions

    def sample(self, key: jax.Array) -> Nest:
        """A nest of draws, drawn with one key for all; each leaf has a key of its own, split from it."""
        parts, structure = self._flatten()
        keys = jax.random.split(key, len(parts))
        return structure.unflatten([part.sample(own) for part, own in zip(parts, keys)])

    def mode(self) -> Nest:
        """A nest of the modes."""
        return self._map(lambda part: part.mode())

    def log_prob(self, action: Nest) -> jax.Array:
        """float32[...] of a nest of draws."""
        return self._sum(lambda part, drawn: part.log_prob(drawn), action)

    def entropy(self) -> jax.Array:
        """float32[...]."""
        return self._sum(lambda part: part.entropy())

    def kl(self, other: 'Product') -> jax.Array:
        """float32[...]: the divergence KL(self, other)."""
        return self._sum(lambda part, its: part.kl(its), other.parts)

    def _flatten(self) -> tuple[list[Any], Any]:
        return jax.tree_util.tree_flatten(self.parts, is_leaf=is_distribution)

    def _map(self, function: Callable[..., Any], *others: Nest) -> Nest:
        return jax.tree_util.tree_map(function, self.parts, *others, is_leaf=is_distribution)

    def _sum(self, function: Callable[..., Any], *others: Nest) -> Any:
        of_parts, _ = jax.tree_util.tree_flatten(self._map(function, *others))
        return functools.reduce(operator.add, of_parts)


# Over the draws of one leaf, and over those of any action.
LeafDistribution: TypeAlias = (
    Categorical | Categoricals | Bernoulli | DiagonalGaussian | TanhGaussian
)
Distribution: TypeAlias = LeafDistribution | Product


def is_distribution(value: Any) -> bool:
    """Whether a value is the distribution of one leaf."""
    kinds = (Categorical, Categoricals, Bernoulli, DiagonalGaussian, TanhGaussian)
    return isinstance(value, kinds)


def leaf_distributions(policy: Distribution) -> list[Any]:
    """The distributions of the leaves of an action, in their order."""
    return jax.tree_util.tree_leaves(policy, is_leaf=is_distribution)
