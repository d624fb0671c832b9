"""What is tested where JAX has 64 bits, in a process of its own: `python -m tests.x64`."""

import jax

jax.config.update('jax_enable_x64', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')

import sys  # noqa: E402
import traceback  # noqa: E402

import numpy as np  # noqa: E402

import culmen  # noqa: E402
from culmen.components.dispatch import unpack_context  # noqa: E402
from culmen.components.environments import own  # noqa: E402
from culmen.components.replay import sample_spec  # noqa: E402
from culmen.launchers import building  # noqa: E402
from culmen.launchers import compiled  # noqa: E402
from tests.agents import registry  # noqa: E402
from tests.agents import streams  # noqa: E402
from tests.agents import toys  # noqa: E402


def shapes(tree):
    return jax.tree_util.tree_map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def check(row: registry.Row) -> None:
    """What goes in comes out, in the same dtypes: states are carried."""
    parts = row.agent.build(row.spec)
    state = jax.eval_shape(parts.learner.init, jax.random.key(0))
    context = unpack_context(np.zeros(4, np.int32))
    params = jax.eval_shape(parts.learner.variables, state)
    lanes = streams.lanes(4)
    timestep = streams.first_timestep(row.spec, 4)
    for core in (parts.actor, parts.evaluator):
        actor = core.init(jax.random.key(0), lanes)
        action, after, _ = jax.eval_shape(core.select_action, params, timestep, actor, context)
        assert shapes(after) == shapes(actor), (shapes(actor), shapes(after))
        assert all(leaf.dtype.itemsize <= 4 for leaf in jax.tree_util.tree_leaves(action)), action
    row_spec = building.trace(parts, row.spec, lanes).row_spec
    sample = sample_spec(parts.experience, row_spec, num_lanes=4)
    after, metrics, _ = jax.eval_shape(parts.learner.update, state, sample, context)
    assert shapes(after) == shapes(state), (shapes(state), shapes(after))
    wide = [leaf for leaf in jax.tree_util.tree_leaves((state, metrics)) if leaf.dtype == 'float64']
    assert not wide, wide


def run(row: registry.Row, launch) -> None:
    """A whole run."""
    experiment = culmen.Experiment(
        row.agent,
        toys.of(row),
        max_actor_steps=60,
        num_environments=2,
        evaluation=culmen.Evaluation(episodes=2, max_steps=20),
    )
    result = launch(experiment, progress=False)
    assert result.summary['learner_steps'] > 0
    assert np.isfinite(result.logs['learner'].loss).all()


ROWS = {row.name: row for row in registry.AGENTS}
RUN = (
    ('r2d2', culmen.run),
    ('sac', culmen.run),
    ('ppo_all_options', compiled.run),
)


def main() -> None:
    """Tests all; names what failed."""
    tests = [(name, check, (row,)) for name, row in ROWS.items()]
    # A maker compares what its environment gives with its spec.
    tests += [(f'jax/{name}', maker, ()) for name, maker in own.MAKERS.items()]
    tests += [(f'run {name}', run, (ROWS[name], launch)) for name, launch in RUN]
    failed = 0
    for name, test, arguments in tests:
        try:
            test(*arguments)
        except Exception:
            failed += 1
            print(f'{name}:\n{traceback.format_exc(limit=-6)}', flush=True)
    print(f'{len(tests)} tests, {failed} failed')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
