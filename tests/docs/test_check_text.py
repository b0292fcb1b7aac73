"""docs/check_text.py names text that the built page lacks."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from check_text import lost_text  # noqa: E402

PAGE = """\
---
html_theme.sidebar_secondary.remove: true
---
# A *title* with `code_here`

<!-- table: first -->
| model | 5 |
| --- | --- |
| [neighbors](../guide/baselines.md) | 0.4 |

The gain is small, about
% in GRU4Rec, and larger elsewhere. See {py:obj}`the class
<skclip.Sessions>` and ![a picture](figures/a.svg).

1. First step

```python
x = 1  # <session> stays
```

:::{note} Careful
:class: tip

Read this.
:::
"""
SHOWN = """\
<article><h1>A <em>title</em> with <code>code_here</code></h1>
<table><tr><th>model</th><th>5</th></tr>
<tr><td><a href="x.html">neighbors</a></td><td>0.4</td></tr></table>
<p>The gain is small, about</p>{lost}<p>See <a>the class</a> and <img>.</p>
<ol><li>First step</li></ol>
<pre><span>x</span> = <span>1</span>  # &lt;session&gt; stays</pre>
<div><p>Careful</p><p>Read this.</p></div></article>
<footer>in GRU4Rec, and larger elsewhere</footer>
"""
LINE = "% in GRU4Rec, and larger elsewhere. "


def test_a_line_that_became_a_comment_is_named():
    html = SHOWN.format(lost="")
    ((where, words),) = lost_text(PAGE, html, Path("page.md"))
    assert where == "page.md:12"
    assert " ".join(words) == "in GRU4Rec and larger elsewhere"


def test_a_tag_that_vanished_is_named():
    html = SHOWN.format(lost=LINE).replace("&lt;session&gt;", "")
    assert lost_text(PAGE, html, Path("page.md")) == [("page.md:18", ["session"])]


def test_nothing_is_named_on_a_complete_page():
    assert lost_text(PAGE, SHOWN.format(lost=LINE), Path("page.md")) == []
