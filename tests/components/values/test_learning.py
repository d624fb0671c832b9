"""What agents of action values make of a sample before their loss."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import values
from culmen.core.types import Context
from tests.agents.dqn.by_hand import TWO

IMAGES = np.random.default_rng(0).integers(0, 255, (2, 2, 8, 8, 1), dtype=np.uint8)
SAMPLE = TWO._replace(steps=TWO.steps._replace(observation=IMAGES))


def transitions(pad, seed=0):
    context = Context(jax.random.key(seed), jnp.int32(0), jnp.int32(0), jnp.int32(0))
    settings = values.ValueSettings(n_step=1, augmentation_pad=pad)
    return values.transitions(SAMPLE, context, settings)


def test_images_are_shifted_at_random_in_each_update_before_and_after():
    plain, *shifted = transitions(0), *(transitions(2, seed) for seed in range(8))
    np.testing.assert_array_equal(plain.o_tm1, IMAGES[:, 0])
    np.testing.assert_array_equal(plain.o_t, IMAGES[:, 1])
    for name in ('o_tm1', 'o_t'):
        made = {np.asarray(getattr(each, name)).tobytes() for each in shifted}
        assert len(made) > 4  # of 25 shifts of each of two images
        assert all(getattr(each, name).shape == (2, 8, 8, 1) for each in shifted)
    for each in shifted:
        np.testing.assert_array_equal(each.r_t, plain.r_t)
        np.testing.assert_array_equal(each.a_tm1, plain.a_tm1)
