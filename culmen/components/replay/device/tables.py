"""The tables of an experience on the device, as functions for the compiled loop.

A table's state has two parts: rows, which each tick writes once, and items, which every update may change.
The loop over the updates of a tick carries only the items, so that rows are never copied.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.replay.device.datasets import DatasetTable
from culmen.components.replay.device.gates import admit_all
from culmen.components.replay.device.ring_table import RingTable
from culmen.components.replay.device.rows import RowLeaves
from culmen.components.replay.device.slabs import SlabTable
from culmen.components.replay.device.unrolls import UnrollRows
from culmen.components.replay.device.unrolls import Unrolls
from culmen.components.replay.recording.recorded import Recorded
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import LONE
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import mirror
from culmen.core.experience import recorded as of_recordings
from culmen.core.experience import rules_of
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from culmen.core.experience import version_shape
from culmen.core.experience import within
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class TablesState(NamedTuple):
    """States by name of a table."""

    rows: dict[str, Any]
    items: dict[str, Any]


class DeviceTables:
    """The stream of B lanes and batches of its windows, as pure functions, for one table or a dict."""

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        num_lanes: int,
        recorded: Mapping[str, Recorded] = MappingProxyType({}),
    ) -> None:
        """Makes the plan; allocates nothing.

        Args:
            experience: a Replay, a Queue, or a dict of them over one stream, and of Datasets beside them;
                with rules, that of each.
            row_spec: of the stream.
            num_lanes: B.
            recorded: the rows of each Dataset, by name of the table.
        Raises: ValueError that names the table, for an experience without a static size and for an unknown
            path in `Window.fields`, `ends`, `first` or `start`.
        """
        self._rules = rules_of(experience)
        self._tables: dict[str, Any] = {}  # that actors write to
        self.datasets: dict[str, DatasetTable] = {}
        self._of_rules: dict[str, dict[str, Any]] = {}  # by rule, then by a table's name in it
        for place, (rule, of_rule) in enumerate(self._rules.items()):
            specs = {
                name: table
                for name, table in tables(of_rule).items()
                if not isinstance(table, Dataset)
            }
            own: dict[str, Any] = {}
            self._of_rules[rule] = own
            for name, table in specs.items():
                where = table_label(within(rule, name))
                versions = version_shape(experience)
                leaves = RowLeaves(row_spec, num_lanes, table.window, versions, place)
                # With several tables, batches may have to wait until another table is due.
                lone = len(specs) == 1
                if table.window.start is not None:
                    own[name] = SlabTable(where, table, leaves)
                elif isinstance(table, Queue) and lone and Unrolls.fit(table, num_lanes):
                    own[name] = Unrolls(where, table, leaves)
                else:
                    own[name] = RingTable(where, table, leaves)
            self._tables |= {within(rule, name): table for name, table in own.items()}
            most = max((table.most_updates for table in own.values()), default=0)
            for name, dataset in of_recordings(of_rule).items():
                full = within(rule, name)
                if full not in recorded:
                    raise ValueError(
                        f'{table_label(full)} is a Dataset: its rows must be read first.'
                    )
                made = DatasetTable(table_label(full), dataset, recorded[full], most)
                own[name] = self.datasets[full] = made
        # Tables for which lanes wait at FIRST.
        self._gated = [
            name
            for name, table in self._tables.items()
            if isinstance(table, RingTable) and table.gate is not None
        ]

    def init(self) -> TablesState:
        """Empty tables."""
        states = {name: table.init() for name, table in self._tables.items()}
        return TablesState(
            {name: rows for name, (rows, _) in states.items()},
            {name: items for name, (_, items) in states.items()}
            | {name: table.init() for name, table in self.datasets.items()},
        )

    def observe(self, state: TablesState, timestep: TimeStep) -> TablesState:
        """Opens a row in every lane; windows that end here become items, by lane and by start.

        Args: timestep: of B lanes, leaves [B, ...].
        Raises: ValueError that names a leaf that does not fit, while it is traced.
        """
        return self._each(
            state,
            lambda name, table: table.observe(state.rows[name], state.items[name], timestep),
        )

    def act(self, state: TablesState, action: Nest, extras: Nest, version: Any) -> TablesState:
        """Closes the rows; windows that LAST cuts short become items.

        Args:
            action, extras: of B lanes, leaves [B, ...].
            version: int32[], updates that made the parameters that acted; of several rules int32[rules].
        Raises: ValueError that names a leaf that does not fit, while it is traced.
        """
        acted = self._each(
            state,
            lambda name, table: table.act(
                state.rows[name], state.items[name], action, extras, version
            ),
        )
        gated = self._gated
        if not gated:
            return acted
        gates = [self._tables[name].gate for name in gated]
        first = acted.items[gated[0]].cut.rows == 0
        admitted = admit_all(gates, [acted.items[name].gate for name in gated], first)
        items = {
            name: acted.items[name]._replace(gate=state)
            for name, state in zip(gated, admitted, strict=True)
        }
        return acted._replace(items={**acted.items, **items})

    def held(self, items: dict[str, Any]) -> jax.Array | None:
        """bool[B], after `act`: lanes at FIRST that wait, and are not stepped; None where none ever does."""
        held = [items[name].gate.held for name in self._gated]
        return jnp.stack(held).any(axis=0) if held else None

    def _each(self, state: TablesState, function: Any) -> TablesState:
        states = {name: function(name, table) for name, table in self._tables.items()}
        return TablesState(
            {name: rows for name, (rows, _) in states.items()},
            state.items | {name: items for name, (_, items) in states.items()},
        )

    @staticmethod
    def lane_axes(rows: dict[str, Any]) -> dict[str, Any]:
        """The axis of the lanes in each leaf of the rows, by which devices share it; None: not shared.

        Rings are not shared, since a draw may take rows of any lane.
        """
        return {
            name: UnrollRows(dict.fromkeys(state.leaves, 1), dict.fromkeys(state.newest, 0))  # type: ignore[arg-type]
            if isinstance(state, UnrollRows)
            else jax.tree_util.tree_map(lambda leaf: None, state)
            for name, state in rows.items()
        }

    def due(self, items: dict[str, Any], rule: str = LONE) -> jax.Array:
        """bool[]: whether an update of a rule is due in every table of it."""
        own = self._live(rule)
        return jnp.stack(
            [table.due(items[within(rule, name)]) for name, table in own.items()]
        ).all()

    def _live(self, rule: str) -> dict[str, Any]:
        """The tables of a rule that actors write to. Datasets are always due."""
        own = self._of_rules[rule]
        return {name: table for name, table in own.items() if not isinstance(table, DatasetTable)}

    def one_update_a_tick(self, rule: str = LONE) -> bool:
        """Whether a tick makes at most one update of a rule due, if every due update is made."""
        # In a table that waits for another one, due updates accumulate.
        first, *others = self._live(rule).values()
        return not others and bool(first.one_update_a_tick)

    def draw(
        self, rows: dict[str, Any], items: dict[str, Any], key: jax.Array, rule: str = LONE
    ) -> tuple[dict[str, Any], Any, Any]:
        """Draws a batch for one update of a rule, which must be due, from every table of it.

        Args:
            rows: of all tables; of a Dataset, (its DatasetRows, the windows of the draw or None).
            items: of all tables.
            key: of the draw.
            rule: whose update is due.
        Returns: (items, keys, samples); keys and samples mirror the rule's experience.
        """
        after, keys, samples = dict(items), {}, {}
        own = self._of_rules[rule]
        for i, (name, table) in enumerate(own.items()):
            of_table = jax.random.fold_in(key, i) if len(own) > 1 else key
            full = within(rule, name)
            if isinstance(table, DatasetTable):
                data, fed = rows[full]
                drawn = table.draw(data, items[full], of_table, fed)
            else:
                drawn = table.draw(rows[full], items[full], of_table)
            after[full], keys[name], samples[name] = drawn
        experience = self._rules[rule]
        return after, mirror(experience, keys), mirror(experience, samples)

    def update_priorities(
        self, items: dict[str, Any], keys: Any, priorities: Any, rule: str = LONE
    ) -> dict[str, Any]:
        """Sets raw priorities float[B] of items that a rule has drawn, or None. Skips items that are gone.

        Raises: ValueError during tracing that names the table, for priorities of a table without any.
        """
        if priorities is None:
            return items
        drawn = unmirror(self._rules[rule], keys)
        after = dict(items)
        for name, raw in unmirror(self._rules[rule], priorities).items():
            if raw is not None:
                full, table = within(rule, name), self._of_rules[rule][name]
                after[full] = table.update_priorities(items[full], drawn[name], raw)
        return after

    @property
    def rules(self) -> dict[str, str]:
        """The rule that draws from each Dataset, by name of the table."""
        return {
            within(rule, name): rule
            for rule, own in self._of_rules.items()
            for name, table in own.items()
            if isinstance(table, DatasetTable)
        }

    def faults(self, items: dict[str, Any]) -> jax.Array:
        """bool[tables]: whether a table was given something that it refuses (see `complaints`)."""
        every = {**self._tables, **self.datasets}
        return jnp.stack([table.fault(items[name]) for name, table in every.items()])

    @property
    def complaints(self) -> list[str]:
        """What a fault of each table means, in words."""
        return [table.complaint for table in (*self._tables.values(), *self.datasets.values())]

    def drop(
        self, state: TablesState, ticks: int, lost: Sequence[tuple[int, int]]
    ) -> tuple[TablesState, int]:
        """Drops items and open windows that need lost rows, on the host.

        Args:
            ticks: how many ticks have closed rows; the next tick's row is open.
            lost: [start, stop) of ticks, in order.
        Returns: the state, and how many items are dropped.
        """
        items, dropped = dict(state.items), 0
        for name, table in self._tables.items():
            if isinstance(table, RingTable):
                items[name], num = table.drop(state.rows[name], items[name], ticks, lost)
                dropped += num
        return state._replace(items=items), dropped
