"""Updates before the first action: which rules make them, and what is refused."""

import dataclasses

import pytest

from culmen.core import Dataset
from culmen.core import Replay
from culmen.core import Window
from culmen.core.experience import ByRule
from culmen.core.pretraining import check_pretraining
from culmen.core.pretraining import pretraining

REPLAY = Replay(Window(), 10, 2, 4, 1.0)
DATASET = Dataset(Window(), 'path', 4)
BEFORE = dataclasses.replace(DATASET, updates_before=7)


@pytest.mark.parametrize(
    ('experience', 'updates'),
    [
        (REPLAY, {}),
        (DATASET, {}),
        ({'own': REPLAY, 'shown': DATASET}, {}),
        (ByRule({'one': REPLAY, 'two': BEFORE}), {'two': 7}),
        (
            ByRule({'one': {'a': BEFORE, 'b': BEFORE}, 'two': {'own': REPLAY, 'c': DATASET}}),
            {'one': 7},
        ),
        (ByRule({'one': DATASET, 'two': DATASET}), {}),
    ],
)
def test_rules_of_datasets_alone_make_them(experience, updates):
    check_pretraining(experience)
    assert pretraining(experience) == updates


@pytest.mark.parametrize(
    ('experience', 'words'),
    [
        (BEFORE, 'updates_before of experience must be 0 where there are Datasets alone, .* got 7'),
        (
            ByRule({'one': BEFORE, 'two': DATASET}),
            r"updates_before of experience\['one'\] must be 0 where there are Datasets alone",
        ),
        (
            {'own': REPLAY, 'shown': BEFORE},
            r"updates_before of experience\['shown'\] must be 0 beside 'own', .* got 7: a rule of Data",
        ),
        (
            ByRule({'one': REPLAY, 'two': {'own': REPLAY, 'shown': BEFORE}}),
            r"updates_before of experience\['two'\]\['shown'\] must be 0 beside 'own'",
        ),
        (
            ByRule({'one': REPLAY, 'two': DATASET}),
            r"experience\['two'\] is of Datasets alone, .* so updates_before must be above 0 .* got \[0\]",
        ),
        (
            ByRule({'one': REPLAY, 'two': {'a': BEFORE, 'b': DATASET}}),
            r"experience\['two'\] is of Datasets alone, .* the same in all its Datasets, got \[0, 7\]",
        ),
    ],
)
def test_what_would_never_be_due_is_refused(experience, words):
    with pytest.raises(ValueError, match=words):
        check_pretraining(experience)


def test_fewer_than_no_updates_are_refused():
    with pytest.raises(ValueError, match='Dataset.updates_before must be at least 0, got -1'):
        dataclasses.replace(DATASET, updates_before=-1)
