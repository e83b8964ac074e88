import subprocess
import sys

import pytest

from steadytune import theory


@pytest.mark.parametrize("name", theory.__all__)
def test_every_public_name_is_there(name):
    assert getattr(theory, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'bounds'"):
        _ = theory.bounds


def test_importing_the_theory_loads_no_torch():
    code = "import sys, steadytune.theory; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
