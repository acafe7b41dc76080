"""Drives a report in a headless Chromium as a person would: usage check.py REPORT.html [FOLDER FOR PICTURES]."""

import json
import pathlib
import sys
import time

import devtools

checks = 0


def check(truth, what):
    global checks
    checks += 1
    if not truth:
        sys.exit(f"report page: {what}")


def column(page, name):
    """The figures of a column of the table of matches, as shown."""
    texts = page.ask(f"""[...document.querySelectorAll('#match-table tbody tr.row td[data-name="{name}"]')].map(td => td.textContent)""")
    return [float(t.replace("\u2212", "-")) for t in texts if t != "–"]


def whole(page):
    """Everything is there, nothing was asked of a network, nothing complained."""
    check(page.ask("document.querySelectorAll('.findings li').length") >= 3, "there are fewer than three findings")
    check(page.ask("document.querySelectorAll('#heats .heat-box').length") >= 1, "there is no heat map")
    check(page.ask("document.querySelectorAll('#match-table tbody tr.row').length") == 25, "the first page has not 25 matches")
    check(page.ask("document.querySelectorAll('#forward-histogram rect.bar').length") > 5, "the histogram has no bars")
    check(page.ask("document.querySelectorAll('#history-charts path.chosen').length") >= 3, "convergence is not drawn")


def scores(page):
    values = "[...document.querySelectorAll('#heats .heat-box')].map(b => [...b.querySelectorAll('.cell')].map(c => c.textContent).join(' '))"
    before = page.ask(values)
    options = page.ask("[...document.querySelectorAll('#measure option')].map(o => o.value)")
    check(len(options) > 1, "there is one score only to choose")
    other = next(o for o in options if o != page.ask("document.querySelector('#measure').value"))
    page.ask(f"(() => {{ const s = document.querySelector('#measure'); s.value = {json.dumps(other)}; s.dispatchEvent(new Event('change')); }})()")
    check(page.ask(values) != before, "another score leaves the heat maps as they were")
    check(page.ask("document.querySelector('#score-verdict').textContent").find(other.split("\x1f")[0]) >= 0, "the sentence does not name the score")
    cells = page.ask("document.querySelectorAll('#heats .heat-box:first-child .cell').length")
    if cells > 1:
        old = page.ask("document.querySelector('#pair').value")
        page.click("#heats .heat-box:first-child .cell[aria-pressed=false]")
        check(page.ask("document.querySelector('#pair').value") != old, "a click on a cell does not choose its pair")
        check(page.ask("document.querySelectorAll('#heats .heat-box:first-child .cell[aria-pressed=true]').length") == 1, "not one cell is chosen")
        page.click("#pair-before" if page.ask("document.querySelector('#pair-after').disabled") else "#pair-after")


def beside(page):
    """A control beside: by its distance from its own null, in the colours of this run's; its score alone is nowhere."""
    titles = page.ask("[...document.querySelectorAll('#heats h3')].map(h => h.firstChild.textContent)")
    name = page.ask("data.beside.name")
    check(titles[-2:] == ["Above the null", "Above its null: " + name], f"the control is shown as {titles[-2:]}")
    scales = page.ask("[...document.querySelectorAll('#heats .scale')].slice(-2).map(s => s.textContent)")
    check(scales[0] == scales[1], f"two runs have two scales: {scales}")
    shown = page.ask("[...document.querySelectorAll('#heats .heat-box:last-child .cell')].map(c => c.textContent)")
    expected = page.ask("data.pairs.map((_, p) => signed(excessOf(besideOf(scoreOf(p, state.score))), 3))")
    check(shown == expected, f"the control's cells are {shown}, expected {expected}")
    found = page.ask("document.querySelector('.findings').textContent")
    check("above chance" in found and "from its null" in found, "the findings do not hold the control against its own chance level")


def counts(page):
    """No count without its chance."""
    for place in ["#matches-explained", "#forward-caption", "#backward-caption"]:
        check("(chance " in page.ask(f"document.querySelector('{place}').textContent"), f"{place} has a figure without its chance")
    words = page.ask("document.querySelector('.findings').textContent")
    check("mutual matches (chance " in words, "the findings count mutual matches without their chance")
    check(page.ask("document.querySelectorAll('#history-charts path.by-chance').length") >= 3, "convergence is drawn without chance levels")
    few = page.ask("data.scores.filter(s => s.null_runs > 0 && s.null_runs < data.least_runs).length")
    check(few > 0 and page.ask("data.scores.every(s => s.null_runs >= data.least_runs || zOf(s) === null)"), "a spread of few runs is shown")


def matches(page):
    r = column(page, "r")
    check(r == sorted(r, reverse=True) and len(r) == 25, "matches do not begin with the strongest")
    page.click('[data-sort="r"]')
    r = column(page, "r")
    check(r == sorted(r), "a click on r does not turn the order")
    check(page.ask("document.querySelector('[data-sort=r]').closest('th').getAttribute('aria-sort')") == "ascending", "aria-sort does not tell the order")
    page.click('[data-sort="r"]')
    token = page.ask("data.tokens[data.sites[data.pairs[state.pair][0]].tokens[place(data.pairs[state.pair][0], listOf().source[3])][0]].trim()")
    page.click("#query")
    started = time.monotonic()
    page.type(token)
    took = time.monotonic() - started
    check(took < 1.0, f"a search takes {took:.2f} s")
    found = page.ask("document.querySelector('#match-count').textContent")
    hits = page.ask("""[...document.querySelectorAll('#match-table tbody .open')].map(b => { const k = Number(b.dataset.row), m = listOf(), [a, c] = data.pairs[state.pair];
        return words(a, m.source[k]) + words(c, m.target[k]); })""")
    check(hits and all(token.lower() in h for h in hits), f"a search for {token!r} finds others ({found})")
    page.ask("document.querySelector('#query').value = ''; document.querySelector('#query').dispatchEvent(new Event('input'))")
    page.click("#page-after")
    check(page.ask("document.querySelector('#page-number').textContent").startswith("26 "), "the next page does not begin with 26")
    page.click("#page-before")
    page.click("#match-table .open")
    check(page.ask("document.querySelectorAll('#match-table .detail .contexts li').length") >= 2, "an opened match shows no contexts")
    check(page.ask("document.querySelectorAll('#match-table .detail mark').length") >= 2, "no strong token is marked in its context")
    lists = page.ask("[...document.querySelectorAll('#verdict option')].map(o => o.value)")
    dropped = [v for v in lists if v.startswith("-")]
    if dropped:
        page.ask(f"(() => {{ const s = document.querySelector('#verdict'); s.value = '{dropped[0]}'; s.dispatchEvent(new Event('change')); }})()")
        check(page.ask("chosenRows().every(k => listOf().dropped[k] === 0) && chosenRows().length > 0"), "a filter shows matches of another verdict")
        page.ask("(() => { const s = document.querySelector('#verdict'); s.value = 'kept'; s.dispatchEvent(new Event('change')); })()")
    if page.ask("data.categories.length > 0"):
        choose = "(() => {{ const s = document.querySelector('#category-filter'); s.value = {}; s.dispatchEvent(new Event('change')); }})()"
        page.ask(choose.format("s.options[1].value"))
        inside = "[listOf().source[k], listOf().target[k]].some((l, i) => categoriesOf(data.pairs[state.pair][i], l).includes(Number(state.category)))"
        check(page.ask(f"chosenRows().length > 0 && chosenRows().every(k => {inside})"), "the category filter shows matches of no such category")
        page.ask(choose.format("''"))


def plane(page):
    if page.ask("planes === null"):
        check("no map" in page.ask("document.querySelector('#map-explained').textContent"), "a missing map is not explained")
        return
    # the strongest match: point at it on the left, its partner must light up on the right
    source, target = page.ask("[listOf().source[0], listOf().target[0]]")
    page.middle(".plane[data-side='0']")
    x, y = page.ask(f"""(() => {{ const p = planes[0].points.get({source}), b = document.querySelector(".plane[data-side='0'] svg").getBoundingClientRect();
        return [b.left + (p.x + 25) / 1050 * b.width, b.top + (p.y + 25) / 1050 * b.height]; }})()""")
    page.point_at(x, y)
    rings = "[0, 1].map(k => [...document.querySelectorAll(`.plane[data-side='${k}'] .ring`)].map(r => Number(r.dataset.latent)))"
    check(page.ask(rings) == [[source], [target]], f"pointing at {source} lights {page.ask(rings)}, expected its partner {target}")
    check(str(target) in page.ask("document.querySelector('#map-status').textContent"), "the partner is not named")
    page.point_at(5, 5)
    # by keyboard
    page.ask("document.querySelector(\".plane[data-side='1']\").focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    here, there = page.ask("[state.lit.side, state.lit.latent]")
    check(here == 1 and page.ask(rings)[1] == [there], "arrow keys do not walk over the map")
    page.key("Enter")
    opened = page.ask("document.activeElement.dataset.row !== undefined && document.activeElement.getAttribute('aria-expanded')")
    check(opened == "true", "Enter on the map does not open the match")
    check(page.ask("listOf().target[Number(document.activeElement.dataset.row)]") == there, "Enter on the map opens another match")


def groups(page):
    """Counts of groups beside chance; every member whose match is on the page with its r, and that with its chance point."""
    if page.ask("data.groups === null"):
        return
    check("chance" in page.ask("document.querySelector('#group-sizes').textContent"), "groups are counted without chance")
    said = page.ask("[...document.querySelectorAll('#group-table .with')].map(e => e.textContent)")
    check(said and all("chance" in words and " with " in words for words in said), f"members of groups say {said[:2]}")


def points(page):
    """r against what the token alone gives: the diagonal, the chance regions, every mutual match that is known, by pointer and by key."""
    if page.ask("document.querySelector('#given').hidden"):
        return
    m = "data.matches[state.pair][0]"
    shown = page.ask(f"{m}.source.map((_, k) => k).filter(k => {m}.mutual[k] && known({m}.token[k]))")
    check(page.ask("document.querySelectorAll('#given-chart .point').length") == len(shown) > 0, "not every known mutual match is a point")
    for what in ["line.diagonal", "rect.null-area", "polygon.diagonal-area"]:
        check(page.ask(f"document.querySelectorAll('#given-chart {what}').length") == 1, f"there is no {what} beside the points")
    names = page.ask("[...document.querySelectorAll('#given-chart text')].map(t => t.textContent).filter(t => /Pearson/.test(t))")
    check(len(names) == 2, f"the axes are named {names}")
    cut = page.ask("""(() => { const b = document.querySelector('#given-chart svg').getBoundingClientRect();
        return [...document.querySelectorAll('#given-chart text')].filter(t => { const r = t.getBoundingClientRect(); return r.left < b.left - 1 || r.right > b.right + 1 || r.bottom > b.bottom + 1; }).map(t => t.textContent); })()""")
    check(not cut, f"words of the chart are cut: {cut}")
    strongest = page.ask(f"{shown}.reduce((a, b) => ({m}.r[b] > {m}.r[a] ? b : a))")
    page.ask("document.querySelector('.points').focus()")
    page.key("Home")
    status = page.ask("document.querySelector('#given-status').textContent")
    check(str(page.ask(f"{m}.source[{strongest}]")) in status and "chance" in status, f"Home tells {status!r}, not the strongest match beside its chance")
    page.key("ArrowDown")
    check(page.ask("document.querySelector('#given-status').textContent") != status, "an arrow key stays at the point")
    x, y = page.ask(f"""(() => {{ const svg = document.querySelector('#given-chart svg'); svg.scrollIntoView({{ block: "center" }});
        const c = [...svg.querySelectorAll('.point')].pop().getBoundingClientRect(); return [c.left + c.width / 2, c.top + c.height / 2]; }})()""")
    page.point_at(5, 5)
    page.point_at(x, y)
    check(page.ask("document.querySelectorAll('#given-chart .ring').length") == 1, "pointing at a match does not mark it")
    page.ask("document.querySelector('.points').focus()")
    page.key("Enter")
    check(page.ask("document.activeElement.getAttribute('aria-expanded')") == "true", "Enter at a point does not open the match")


def keyboard(page):
    """Tab reaches every control, and what has the focus can be seen."""
    page.ask("document.querySelector('.skip').focus()")
    reached, unseen = [], []
    for _ in range(170):
        page.key("Tab")
        at = page.ask("""(() => { const e = document.activeElement; if (!e || e === document.body) return null; const s = getComputedStyle(e);
            return [e.id || e.dataset.sort || e.className || e.getAttribute('href') || e.tagName, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0]; })()""")
        if at is None:
            break
        reached.append(at[0])
        if not at[1]:
            unseen.append(at[0])
    for name in ["pair", "measure", "query", "verdict", "r", "open", "page-after"] + (["plane"] if page.ask("planes !== null") else []):
        check(name in reached, f"the Tab key does not reach {name} (it reached {len(reached)} things)")
    check(not unseen, f"focus cannot be seen on {unseen[:5]}")
    page.ask("document.querySelector('[data-sort=\"source\"]').focus()")
    page.key("Enter")
    check(page.ask("state.sort.key") == "source" and page.ask("document.activeElement.dataset.sort") == "source", "Enter does not sort, or loses the focus")
    page.ask("document.querySelector('[data-sort=\"r\"]').focus()")
    page.key("Enter")


def fits(page, width):
    page.size(width, 800, mobile=width < 600)
    wide = page.ask("document.documentElement.scrollWidth")
    check(wide <= width, f"at {width} px the page is {wide} px wide: " + str(page.ask(f"""[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > {width} + 1
        && !e.closest('.scroll') && !e.closest('pre')).slice(0, 4).map(e => e.tagName + '.' + e.className)""")))


def contrast(page, scheme):
    """Words against what they stand on: at least 4.5 to 1."""
    page.scheme(scheme)
    worst = page.ask("""(() => {
        const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        const rgb = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
        const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
        let worst = [99, ''];
        for (const e of document.querySelectorAll('h1, h2, h3, p, li, th, td, dt, dd, button.cell, mark, summary, label, figcaption, .tok, .tag, nav a')) {
            if (!e.textContent.trim() || !e.getClientRects().length || getComputedStyle(e).fontSize === '0px') continue;
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            if (ratio < worst[0]) worst = [ratio, e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 30)];
        }
        return worst; })()""")
    check(worst[0] >= 4.5, f"{scheme}: contrast of {worst[0]:.2f} at {worst[1]}")


def pictures(page, folder):
    folder.mkdir(parents=True, exist_ok=True)
    page.size(1280, 900)
    for scheme in ["light", "dark"]:
        page.scheme(scheme)
        page.ask("window.scrollTo(0, 0)")
        page.picture(folder / f"{scheme}-top.png")
        for section in ["scores", "single", "matches", "map", "history", "facts"]:
            page.picture(folder / f"{scheme}-{section}.png", "#" + section)
    page.scheme("light")
    page.size(375, 800, mobile=True)
    page.picture(folder / "phone.png", "body")
    page.size(1280, 900)


def main():
    report = pathlib.Path(sys.argv[1]).resolve()
    program = devtools.find()
    if not program:
        sys.exit("report page: no Chromium is installed")
    started = time.monotonic()
    page = devtools.Browser(program)
    try:
        page.size(1280, 900)
        page.scheme("light")
        page.open(report.as_uri())
        opened = time.monotonic() - started
        whole(page)
        counts(page)
        scores(page)
        if page.ask("data.beside !== null"):
            beside(page)
        matches(page)
        plane(page)
        points(page)
        groups(page)
        keyboard(page)
        contrast(page, "light")
        contrast(page, "dark")
        for width in [375, 768, 1280]:
            fits(page, width)
        page.size(1280, 900)
        if len(sys.argv) > 2:
            pictures(page, pathlib.Path(sys.argv[2]))
        foreign = [url for url in page.requests if not url.startswith(("data:", "about:")) and url != report.as_uri()]
        check(not foreign, f"it asks for {foreign[:3]}")
        check(not page.complaints, f"the console says {page.complaints[:3]}")
    finally:
        page.close()
    print(f"report page: {checks} checks passed in {time.monotonic() - started:.1f} s (open after {opened:.1f} s), {report.stat().st_size / 2**20:.2f} MiB")


main()
