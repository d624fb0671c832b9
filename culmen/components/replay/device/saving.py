"""Saves the rows of device tables in checkpoints: only those since the last one, as for any table.

Closed rows never change, so a checkpoint takes only the new ones (the Checkpointer calls `live_ticks` and
`read_rows`), together with the state of the tables, which has the open row in place of the rings.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.device.rows import RingState
from culmen.components.replay.device.tables import TablesState

_CHUNK = 256  # ticks read in one compiled call


def is_ring(state: Any) -> bool:
    """Whether the rows of a table are a ring. Other rows are few, and saved whole."""
    return isinstance(state, RingState)


@jax.jit
def open_rows(state: TablesState) -> TablesState:
    """The state with the open row, [B, ...], in place of each ring."""
    return state._replace(rows=jax.tree_util.tree_map(_newest, state.rows, is_leaf=is_ring))


def _newest(rows: Any) -> Any:
    if not is_ring(rows):
        return rows
    words, large = jax.tree_util.tree_map(lambda ring: ring[rows.slot], (rows.words, rows.large))
    return RingState(words, large, rows.slot)


@jax.jit
def _read(state: dict[str, Any], first: dict[str, jax.Array]) -> dict[str, dict[str, jax.Array]]:
    """A chunk of ticks of each ring, from a slot on, by name of the table and path."""
    out = {}
    for name, rows in state.items():
        at = (first[name] + jnp.arange(_CHUNK)) % len(rows.words)
        out[name] = {'words': rows.words[at], **{p: ring[at] for p, ring in rows.large.items()}}
    return out


class SavedRows:
    """The closed rows of a state, for the Checkpointer: arrays [ticks, B, ...] by 'table/path'."""

    def __init__(self, state: TablesState, ticks: int) -> None:
        """Args: state: of the tables; ticks: how many ticks have closed rows."""
        self._rings = {name: rows for name, rows in state.rows.items() if is_ring(rows)}
        self._ticks = ticks

    def live_ticks(self) -> tuple[int, int]:
        """(first tick that a ring still holds, first tick that is not closed)."""
        longest = max((len(rows.words) for rows in self._rings.values()), default=1)
        # A ring also holds the open row.
        return max(self._ticks + 1 - longest, 0), self._ticks

    def read_rows(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Copies closed rows. Ticks that a shorter ring no longer holds are filled with its newest rows."""
        chunks = []
        for begin in range(start, stop, _CHUNK):
            first = {name: np.int32(begin % len(rows.words)) for name, rows in self._rings.items()}
            chunk = jax.tree_util.tree_map(np.asarray, _read(self._rings, first))
            chunks.append(
                {
                    f'{name}/{path}': array[: stop - begin]
                    for name, arrays in chunk.items()
                    for path, array in arrays.items()
                }
            )
        return {path: np.concatenate([chunk[path] for chunk in chunks]) for path in chunks[0]}


def with_rows(
    empty: TablesState,
    opened: TablesState,
    ticks: int,
    saved: Iterable[tuple[int, dict[str, NDArray[Any]]]],
    lost: Sequence[tuple[int, int]] = (),
) -> TablesState:
    """The inverse: joins the state of `open_rows` and the saved rows.

    Args:
        empty: the state of empty tables, or its shapes and dtypes.
        opened: the result of `open_rows`.
        ticks: how many ticks have closed rows.
        saved: (first tick, arrays of `read_rows`), in order.
        lost: [start, stop) of ticks that are not in `saved`; `DeviceTables.drop` drops what needs them.
    Raises: ValueError for rows that are missing.
    """
    rows = dict(opened.rows)
    rings = {name: state for name, state in empty.rows.items() if is_ring(state)}
    arrays = {
        name: {
            'words': np.zeros(state.words.shape, np.int32),
            **{path: np.zeros(ring.shape, ring.dtype) for path, ring in state.large.items()},
        }
        for name, state in rings.items()
    }
    covered = [*lost]
    for start, chunk in saved if rings else ():
        covered.append((start, start + len(next(iter(chunk.values())))))
        for name, of_table in arrays.items():
            size = len(of_table['words'])
            for path, ring in of_table.items():
                new = chunk[f'{name}/{path}'][: max(ticks - start, 0)]
                at = np.arange(start, start + len(new))
                kept = at > ticks - size  # without rows that a shorter ring no longer holds
                ring[at[kept] % size] = new[kept]
    _check_covered(covered, max(map(_reach, rings.values()), default=0), ticks)
    for name, of_table in arrays.items():
        newest = opened.rows[name]
        slot = int(newest.slot)
        of_table['words'][slot] = newest.words
        for path, leaf in newest.large.items():
            of_table[path][slot] = leaf
        words = of_table.pop('words')
        rows[name] = RingState(words, of_table, newest.slot)  # type: ignore[arg-type]
    return opened._replace(rows=rows)


def _reach(ring: RingState) -> int:
    """The most closed rows that a ring can hold."""
    return len(ring.words) - 1


def _check_covered(covered: Sequence[tuple[int, int]], most: int, ticks: int) -> None:
    first = reached = max(ticks - most, 0)
    for begin, end in sorted(covered):
        reached = max(reached, end) if begin <= reached else reached
    if reached < ticks and most:
        raise ValueError(
            f'checkpoint rows must reach from tick {first} to {ticks}, got up to {reached}.'
        )
