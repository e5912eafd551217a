# SPDX-License-Identifier: Apache-2.0
"""In an engine for a GPU, only what works on strings, sequences or optionals is on the host.

All cases take minutes (host_steps.py). These have ranks and sizes that depend on what inputs hold, or graphs inside, and
one of them steps that must be there.
"""

import host_steps
import pytest
import redline

ON_HOST = {
    "affine_grid": set(),
    "loop11": set(),
    "nonmaxsuppression_two": set(),
    "test_if_seq": {"sequence_construct", "if"},
}


@pytest.mark.parametrize("part", ON_HOST)
def test_only_what_must_be_on_the_host_is(part):
    models = [model for _, model, _ in host_steps.cases(part, "sm_90a")]
    assert models
    try:
        steps = [host_steps.steps_of(model, "sm_90a") for model in models]
    except redline.Error as error:
        if "NVRTC" in str(error):
            pytest.skip("no NVRTC to compile kernels with")
        raise
    assert set().union(*steps) == ON_HOST[part]
