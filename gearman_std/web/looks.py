"""The style and the script of the page, which loads nothing from other servers.

The page shows everything without the script.  The script renews the page every two seconds; if the server is slow, it waits ten
times as long as the last answer took, at most 30 seconds.  It also sends the orders, each after a question.
"""

STYLE = """\
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2430; --faint: #5a6475; --line: #d9dee7; --panel: #f5f7fa;
  --wait: #9a5200; --run: #1759c4; --good: #1a7f37; --bad: #c0262d; --focus: #0b57d0 }
@media (prefers-color-scheme: dark) { :root { --paper: #12161d; --ink: #e6e9ef; --faint: #a0a9b8; --line: #303846;
  --panel: #1a202a; --wait: #f0a04b; --run: #6ea8fe; --good: #56c271; --bad: #ff7b72; --focus: #8ab4f8 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif }
header, main, footer { max-width: 78rem; margin: 0 auto; padding: 0 1rem }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; padding-top: .9rem }
h1 { font-size: 1.25rem; margin: 0 } h1 a { color: inherit; text-decoration: none }
h2 { font-size: 1.02rem; margin: 1.6rem 0 .4rem } h2 small { font-weight: normal; color: var(--faint) }
a { color: var(--run) } form { margin-left: auto } input, button, select { font: inherit; color: inherit }
input { background: var(--panel); border: 1px solid var(--faint); border-radius: .35rem; padding: .25rem .5rem; width: 16rem;
  max-width: 100% }
::placeholder { color: var(--faint); opacity: 1 } progress { accent-color: var(--run); max-width: 100% }
button { background: var(--panel); border: 1px solid var(--faint); border-radius: .35rem; padding: .1rem .5rem;
  cursor: pointer }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 1px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .6rem; margin: .9rem 0; padding: 0 }
.tiles div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .7rem }
.tiles dt { color: var(--faint); font-size: .82rem }
.tiles dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .28rem .6rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: middle }
th { color: var(--faint); font-weight: 600; font-size: .82rem; white-space: nowrap } th a { color: inherit }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.k { overflow-wrap: anywhere; max-width: 26rem }
.wait { color: var(--wait) } .run { color: var(--run) } .good { color: var(--good) } .bad { color: var(--bad) }
.faint { color: var(--faint) } .order { display: none } .js .order { display: inline-block } .orders { white-space: nowrap }
svg { display: block } .bar { width: 7rem; height: .7rem } .spark { width: 120px; height: 24px }
.chart { width: 100%; height: 9rem }
.fill-wait { fill: var(--wait) } .fill-run { fill: var(--run) } .fill-good { fill: var(--good) } .fill-bad { fill: var(--bad) }
.fill-none { fill: var(--line) } .stroke-good { stroke: var(--good); fill: none; stroke-width: 1.5 }
.notice { border-left: 4px solid var(--wait); background: var(--panel); padding: .4rem .8rem; margin: .8rem 0 }
#said { min-height: 1.5rem; margin: .4rem 0 0 } dialog { color: var(--ink); background: var(--paper);
  border: 1px solid var(--faint); border-radius: .6rem; padding: 1rem 1.2rem; max-width: 32rem }
dialog::backdrop { background: rgb(0 0 0 / 45%) } dialog menu { display: flex; gap: .6rem; justify-content: end; padding: 0 }
footer { color: var(--faint); font-size: .85rem; padding-top: 1.5rem; padding-bottom: 1.5rem }
@media (max-width: 44rem) { .wide { display: none } form { margin-left: 0; width: 100% } input { width: 100% }
  .k { min-width: 6.5rem; max-width: 11rem } progress { width: 5rem } }
@media (prefers-reduced-motion: no-preference) { progress { transition: none } }
"""

SCRIPT = """\
"use strict";
document.documentElement.classList.add("js");
const main = document.querySelector("main"), said = document.getElementById("said");
const dialog = document.querySelector("dialog"), live = document.getElementById("live");
let order = null, asking = false;
function say(text, bad) { said.textContent = text; said.className = bad ? "bad" : "good"; }
// Which control has the focus: what it leads to, or orders, without the order itself, and which of several with the same.
function aim(control) { return control.getAttribute("href") || (control.dataset.order || "").replace(/[^/]*$/, ""); }
function controls(target) { return [...main.querySelectorAll("a[href], button")].filter(one => aim(one) === target); }
function replace(text) {
  const focus = document.activeElement, target = main.contains(focus) ? aim(focus) : "";
  const place = target ? controls(target).indexOf(focus) : 0;
  const scrolled = [...main.querySelectorAll(".scroll")].map(one => one.scrollLeft);
  main.innerHTML = text;
  [...main.querySelectorAll(".scroll")].forEach((one, index) => { one.scrollLeft = scrolled[index] || 0; });
  const found = target ? controls(target) : [], next = found[place] || found[0];
  if (next) next.focus({ preventScroll: true });
}
async function renew() {
  if (document.hidden || dialog.open || asking || !getSelection().isCollapsed) return;
  asking = true;
  const there = new URL(location.href);
  there.searchParams.set("part", "main");
  try {
    const response = await fetch(there, { headers: { Accept: "text/html" } });
    const text = await response.text();
    replace(response.ok ? text : "<p class=notice></p>");
    if (!response.ok) main.firstChild.textContent = text;
    live.textContent = "live";
  } catch (error) { live.textContent = "the server does not answer"; }
  asking = false;
}
main.addEventListener("click", event => {
  const button = event.target.closest("button[data-order]");
  if (!button) return;
  order = button.dataset.order;
  dialog.querySelector("p").textContent = button.dataset.ask;
  dialog.showModal();
});
dialog.addEventListener("submit", async event => {
  if (event.submitter.value !== "yes") return;
  const [path, query] = order.split("?");
  try {
    const response = await fetch(path, { method: "POST", headers: { "X-Gearman-Steer": "yes" }, body: query || "" });
    const text = (await response.text()).trim();
    const done = response.ok ? JSON.parse(text).done : text;
    say(dialog.querySelector("p").textContent + " " + (response.ok ? (done === true ? "Done." : "Done: " + done + ".") : done),
        !response.ok);
  } catch (error) { say("The server does not answer.", true); }
  renew();
});
async function live_on() {
  const begun = performance.now();
  await renew();
  setTimeout(live_on, Math.min(Math.max(2000, 10 * (performance.now() - begun)), 30000));
}
setTimeout(live_on, 2000);
"""
