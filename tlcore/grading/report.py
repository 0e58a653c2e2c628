"""One page about a class: how the scores are spread, which checks were hardest, and what a person should look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment

from tlcore.grading.build import put
from tlcore.grading.course import Course
from tlcore.grading.grader import Grade, check_results

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ lesson }}: the class</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
.bar { background: #0072B2; height: .9rem; display: inline-block; min-width: 1px } code { white-space: pre-wrap }
</style></head><body>
<h1>{{ lesson }}</h1>
<p>{{ graded|length }} submission{{ '' if graded|length == 1 else 's' }} graded
{% if problems %}, {{ problems|length }} not{% endif %}.
{% if graded %}Median {{ median }} of {{ most }} points.{% endif %}</p>
<h2>Scores</h2>
<table>{% for low, high, n in spread %}<tr><td>{{ low }}–{{ high }}%</td>
<td><span class="bar" style="width:{{ 300 * n // widest }}px"></span> {{ n }}</td></tr>{% endfor %}</table>
<h2>Hardest checks</h2>
<table><tr><th>passed</th><th>check</th><th>exercise</th></tr>
{% for share, name, cell in hardest %}
<tr><td>{{ share }}%</td><td>{{ name }}</td><td>{{ cell }}</td></tr>{% endfor %}</table>
{% if problems %}<h2>Not graded</h2><table>
{% for g in problems %}<tr><td>{{ g.student }}</td><td>{{ g.problem }}</td></tr>{% endfor %}</table>{% endif %}
{% if mended %}<h2>Mended</h2><table>
{% for g in mended %}<tr><td>{{ g.student }}</td><td>{{ g.note }}</td></tr>{% endfor %}</table>{% endif %}
<h2>For review</h2>
{% if flagged %}<p>What looks like tampering, for a person to judge. It cost no points.</p><table>
{% for g in flagged %}{% for f in g.flags %}<tr><td>{{ g.student }}</td><td>cell {{ f.cell }}: {{ f.sign }}</td>
<td><code>{{ f.line }}</code></td></tr>{% endfor %}{% endfor %}</table>
{% else %}<p>Nothing looks like tampering.</p>{% endif %}
</body></html>
"""


def write_report(course: Course, lesson: str, grades: Iterable[Grade]) -> Path:
    """Write the class report of a lesson beside the feedback pages; return its path."""
    mine = sorted((g for g in grades if g.lesson == lesson), key=lambda g: g.student)
    graded = [g for g in mine if g.score is not None]
    scores = sorted(g.score for g in graded if g.score is not None)
    most = max((g.max_score for g in mine), default=0)
    spread = _spread([100 * s / most for s in scores] if most else [])
    page = Environment(autoescape=True).from_string(_PAGE)
    text = page.render(
        lesson=lesson,
        graded=graded,
        problems=[g for g in mine if g.problem],
        mended=[g for g in graded if g.note],
        flagged=[g for g in graded if g.flags],
        median=f"{scores[len(scores) // 2]:g}" if scores else "",
        most=f"{most:g}",
        spread=spread,
        widest=max((n for _, _, n in spread), default=1) or 1,
        hardest=_hardest(course, lesson, [g.student for g in graded]),
    )
    target = course.feedback / f"{lesson}.html"
    put(target, text.encode())
    return target


def _spread(shares: list[float]) -> list[tuple[int, int, int]]:
    counts = Counter(min(int(s // 10), 9) for s in shares)
    return [(10 * n, 10 * n + 10, counts[n]) for n in range(10)]


def _hardest(course: Course, lesson: str, students: list[str], most: int = 10) -> list[tuple[int, str, str]]:
    asked: Counter[tuple[str, str]] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    for student in students:
        for cell, found in check_results(course.autograded / student / lesson / f"{lesson}.ipynb").items():
            for result in found["results"]:
                asked[cell, result["name"]] += 1
                passed[cell, result["name"]] += bool(result["passed"])
    rows = [(100 * passed[key] // n, key[1], key[0]) for key, n in asked.items()]
    return sorted(rows)[:most]
