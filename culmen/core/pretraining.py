"""Updates before the first action: rules of Datasets alone, beside rules that learn from what actors write.

`Dataset.updates_before` says how many such a rule makes. Afterwards it is never due.
"""

from culmen.core.experience import Experience
from culmen.core.experience import live
from culmen.core.experience import recorded
from culmen.core.experience import rules_of
from culmen.core.experience import table_label
from culmen.core.experience import tables
from culmen.core.experience import within


def pretraining(experience: Experience) -> dict[str, int]:
    """How many updates each rule of Datasets alone makes before the first action, by rule.

    Other rules are left out; if no rule learns from what actors write, all are.
    """
    if live(experience) is None:
        return {}
    return {
        rule: max(table.updates_before for table in recorded(of_rule).values())
        for rule, of_rule in rules_of(experience).items()
        if live(of_rule) is None
    }


def check_pretraining(experience: Experience) -> None:
    """Refuses Datasets whose rule would never be due, or not before the first action. Raises: ValueError."""
    acting = live(experience) is not None
    for rule, of_rule in rules_of(experience).items():
        others = live(of_rule)
        counts = {name: table.updates_before for name, table in recorded(of_rule).items()}
        for name, updates in counts.items():
            where = f'updates_before of {table_label(within(rule, name))}'
            if updates and not acting:
                raise ValueError(
                    f'{where} must be 0 where there are Datasets alone, which give every update, '
                    f'got {updates}.'
                )
            if updates and others is not None:
                raise ValueError(
                    f'{where} must be 0 beside {", ".join(map(repr, tables(others)))}, from which the '
                    f'same rule draws and which is empty before the first action, got {updates}: a rule '
                    f'of Datasets alone can make such updates.'
                )
        if acting and others is None and (len(set(counts.values())) > 1 or 0 in counts.values()):
            raise ValueError(
                f'{table_label(rule)} is of Datasets alone, beside a rule that learns from what actors '
                f'write: it is due before the first action only, so updates_before must be above 0 and '
                f'the same in all its Datasets, got {sorted(counts.values())}. A Dataset in a dict of '
                f'tables with a Replay or a Queue gives a batch whenever they do.'
            )
