"""The page's rules as small workflows. The harness asserts, so pytest must explain it too."""

import pytest

pytest.register_assert_rewrite("tests.rules.harness")
