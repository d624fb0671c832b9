"""The encoder of images, and images shifted at random."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components.networks import PixelTorso
from culmen.components.networks import TanhGaussianHead
from culmen.components.networks import action_box
from culmen.components.networks import make_continuous_networks
from culmen.components.networks import random_shift
from tests.agents import registry

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 9, 10, 2)).astype(np.uint8)


def shifted(pad, observation=IMAGES, key=0):
    shift = jax.jit(random_shift, static_argnums=2)
    return shift(jax.random.key(key), observation, pad)


def test_every_shift_is_a_crop_of_the_padded_image_and_all_come():
    pad = 1
    given = np.asarray(shifted(pad))
    assert given.shape == IMAGES.shape
    assert given.dtype == np.uint8
    counts = np.zeros((3, 3), int)
    for before, after in zip(IMAGES, given, strict=True):
        padded = np.pad(before, ((pad, pad), (pad, pad), (0, 0)), mode='edge')
        found = [
            (row, column)
            for row in range(3)
            for column in range(3)
            if (padded[row : row + 9, column : column + 10] == after).all()
        ]
        assert len(found) == 1
        counts[found[0]] += 1
    assert counts.min() > 300 / 9 / 2  # each image by itself, each shift as often


def test_only_images_are_shifted():
    observation = {'image': IMAGES, 'vector': np.ones((300, 9), np.float32)}
    given = shifted(2, observation)
    np.testing.assert_array_equal(given['vector'], observation['vector'])
    assert (np.asarray(given['image']) != IMAGES).any()
    with pytest.raises(ValueError, match=r'augmentation_pad must be 0 .* got shapes \[\(9,\)\]'):
        shifted(2, observation['vector'])


def test_a_key_decides():
    np.testing.assert_array_equal(shifted(2), shifted(2))
    assert (np.asarray(shifted(2, key=1)) != np.asarray(shifted(2))).any()


def test_the_torso_s_shapes():
    torso = hk.without_apply_rng(hk.transform(lambda x: PixelTorso((4, 6), size=7)(x)))
    params = jax.jit(torso.init)(jax.random.key(0), IMAGES[:1])
    shapes = {leaf.shape for leaf in jax.tree_util.tree_leaves(params)}
    # 9x10, stride 2: 4x4; stride 1: 2x2.
    assert {(3, 3, 2, 4), (3, 3, 4, 6), (2 * 2 * 6, 7)} <= shapes
    features = jax.jit(torso.apply)(params, IMAGES[:5])
    assert features.shape == (5, 7)
    assert jnp.abs(features).max() < 1


@pytest.mark.parametrize('channels', [(4,), (3, 5)])
def test_the_encoder_follows_the_observation(channels):
    image = specs.BoundedArray((12, 12, 3), np.uint8, 0, 255)
    spec = registry.continuous_spec()._replace(observation=image)
    networks = make_continuous_networks(
        spec,
        lambda: TanhGaussianHead(2),
        action_box('tests', spec),
        (8,),
        encoder_channels=channels,
    )
    policy_params, critic_params = jax.jit(networks.init)(jax.random.key(0))
    shapes = {leaf.shape for leaf in jax.tree_util.tree_leaves(critic_params.encoder)}
    assert {shape[-1] for shape in shapes if len(shape) == 4} == set(channels)
    features = jax.jit(networks.encode)(critic_params.encoder, np.zeros((2, 12, 12, 3), np.uint8))
    assert features.shape == (2, 50)
    assert networks.policy(policy_params, features).mean.shape == (2, 2)
