"""The names that `analysis` offers to notebooks and scripts."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import analysis

SOURCE = Path(analysis.__file__).read_text()


def test_every_name_is_there_and_type_checkers_see_the_same_object() -> None:
    (block,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If)]
    seen: dict[str, object] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        exec(ast.unparse(node), seen)
    assert set(analysis.__all__) == set(seen) - {"__builtins__"}
    for name in analysis.__all__:
        assert getattr(analysis, name) is seen[name]


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        getattr(analysis, "fit_" + "everything")


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = "import sys, analysis; assert not {'numpy', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(analysis.__file__).parents[1], check=True)


def test_imports_need_no_torch_no_ray_and_none_of_the_other_rooms() -> None:
    root = Path(analysis.__file__).parents[1]
    blocked = ("torch", "ray", "mlflow", "study", "workloads", "kernels", "cluster")
    files = sorted((root / "analysis").rglob("[a-z]*.py"))
    modules = [".".join(path.relative_to(root).with_suffix("").parts) for path in files]
    assert "analysis.report.report" in modules
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"import importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
