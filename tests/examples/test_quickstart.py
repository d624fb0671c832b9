"""The notebook: it runs from top to bottom, and its stored outputs are those of such a run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / 'examples' / 'quickstart.ipynb'


def outputs(notebook):
    """The texts that each code cell printed or returned, but for the lines of progress."""
    texts = []
    for cell in notebook['cells']:
        if cell['cell_type'] != 'code':
            continue
        text = ''
        for output in cell['outputs']:
            assert output['output_type'] != 'error', output
            if output['output_type'] == 'stream':
                text += ''.join(output['text'])
            elif output['output_type'] == 'execute_result':
                text += ''.join(output['data']['text/plain'])
        texts.append(text)
    return texts


def repeatable(text):
    """A text without what differs between machines: speeds, and when a timer went off."""
    text = re.sub(r'(steps_per_second: ).*', r'\1...', text)
    return re.sub(r'(after )\d+( steps)', r'\1...\2', text)


def test_its_outputs_are_stored_and_name_no_machine():
    text = FILE.read_text()
    notebook = json.loads(text)
    printed = outputs(notebook)
    assert sum(not each for each in printed) == 1, 'only the imports print nothing'
    assert any('image/png' in text for text in map(json.dumps, notebook['cells']))
    shown = '\n'.join(printed)
    assert not re.search(r'(^|[\s\'"])/(home|root|tmp|work|Users|usr)/', shown)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    pytest.importorskip('nbconvert')
    pytest.importorskip('ipykernel')
    pytest.importorskip('bsuite')
    folders = {
        name: str(tmp_path / name) for name in ('IPYTHONDIR', 'JUPYTER_RUNTIME_DIR', 'TMPDIR')
    }
    for folder in folders.values():
        Path(folder).mkdir()
    run = subprocess.run(
        [
            sys.executable, '-m', 'nbconvert', '--to', 'notebook', '--execute', str(FILE),
            '--output-dir', str(tmp_path), '--output', 'executed',
        ],
        cwd=tmp_path,
        env={**os.environ, **folders, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    executed = outputs(json.loads((tmp_path / 'executed.ipynb').read_text()))
    stored = outputs(json.loads(FILE.read_text()))
    at = next(i for i, text in enumerate(stored) if text.startswith('interrupted: True'))
    assert executed[at].startswith('interrupted: True')
    assert executed[at + 1] == stored[at + 1]  # the run went on where it was interrupted
    assert executed[-1] == stored[-1] == "{'episodes': 20, 'return_mean': 1.0, 'return_std': 0.0}"
