"""The report in a real browser: no network, no console error, no sideways scrolling."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.report import write_report
from tests.analysis.known import falling

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
# A frame of the given width stands for a window of it: browsers refuse windows as narrow as phones.
FRAME = """<!doctype html><iframe src="report.html" style="width:{width}px;height:900px"
onload="const d = this.contentDocument;
document.title = 'scroll ' + d.documentElement.scrollWidth + ' client '
 + d.documentElement.clientWidth + ' svg ' + d.querySelector('svg').getBoundingClientRect().width
 + ' picture ' + d.querySelector('img').naturalWidth"></iframe>"""


@pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_opens_from_disk(
    width: int, ladder: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    long = "an-arm-with-a-name-longer-than-a-telephone-is-wide-<b>and-then-some</b>"
    runs = ladder().replace({"arm": {"dense": long}})
    curves = pd.concat([falling("a", long, 2.0), falling("b", "lowrank", 1.9)])
    write_report(runs, tmp_path, f"The study {long}", curves)
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,1000"]
    done = subprocess.run(
        [str(BROWSER), *options, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"<title>scroll (\d+) client (\d+) svg ([\d.]+) picture (\d+)", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-2000:]
    scroll, client, figure, picture = map(float, found.groups())
    assert width - 20 <= client <= width and scroll <= client
    assert 0 < figure <= client and picture > 0
    assert "CONSOLE" not in done.stderr
