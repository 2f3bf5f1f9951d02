"""The look of the page: one style sheet, no outside font or file, light and dark."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --ink: #1c2330; --muted: #5d6675; --line: #e3e6eb;
  --student: #0072b2; --teacher: #b0568c; --alone: #d55e00; --tint: #eaf3f9;
  --warn: #8a5a00; --warn-ground: #fff6e0; --warn-line: #f0d48a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f131a; --card: #171c26; --ink: #e8ebf1; --muted: #a3acbb; --line: #2c3442;
    --student: #56b4e9; --teacher: #e79ac6; --alone: #ff8f4d; --tint: #16293a;
    --warn: #f3cf78; --warn-ground: #2b2413; --warn-line: #57491f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 64px; }
header .eyebrow {
  margin: 0; color: var(--student); font-size: 13px; font-weight: 600; letter-spacing: .08em; text-transform: uppercase;
}
h1 { margin: 4px 0 12px; font-size: 36px; line-height: 1.15; letter-spacing: -.02em; overflow-wrap: anywhere; }
.lead { max-width: 46em; margin: 0 0 6px; font-size: 20px; line-height: 1.5; }
.small { color: var(--muted); font-size: 14px; max-width: 60em; margin: 6px 0 0; }
h2 { margin: 48px 0 14px; font-size: 22px; letter-spacing: -.01em; }
h3 { margin: 0 0 8px; font-size: 17px; }
.meter { margin: 26px 0 0; max-width: 46em; }
.track { position: relative; height: 10px; border-radius: 5px; background: var(--line); margin: 0 9px; }
.fill { position: absolute; top: 0; bottom: 0; border-radius: 5px; background: var(--student); opacity: .35; }
.mark {
  position: absolute; top: 50%; width: 18px; height: 18px; margin: -9px 0 0 -9px; border-radius: 50%;
  border: 3px solid var(--ground);
}
.mark.alone, .key.alone::before { background: var(--alone); }
.mark.student, .key.student::before { background: var(--student); }
.mark.teacher, .key.teacher::before { background: var(--teacher); }
.keys { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 12px 0 0; color: var(--muted); font-size: 14px; }
.key::before {
  content: ""; display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 7px;
}
.key b { color: var(--ink); font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 14px; margin: 30px 0 0; }
.tile, figure, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.tile { padding: 16px 18px; }
.tile .what { margin: 0; color: var(--muted); font-size: 13px; }
.tile .value {
  margin: 2px 0; font-size: 28px; font-weight: 650; letter-spacing: -.02em; line-height: 1.2;
  font-variant-numeric: tabular-nums;
}
.tile .note { margin: 0; color: var(--muted); font-size: 13px; line-height: 1.45; }
.warnings {
  margin: 26px 0 0; padding: 14px 18px; color: var(--warn); background: var(--warn-ground);
  border: 1px solid var(--warn-line); border-radius: 12px;
}
.warnings ul { margin: 4px 0 0; padding-left: 20px; }
.warnings li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
table { width: 100%; border-collapse: collapse; font-size: 15px; }
th, td { padding: 9px 16px; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--muted); font-size: 13px; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; min-width: 9em; overflow-wrap: break-word; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.student th, tr.student td { font-weight: 650; background: var(--tint); }
td:not(.number) { min-width: 9em; overflow-wrap: break-word; }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
td:last-child { color: var(--muted); }
td.number:last-child { color: inherit; }
.pictures { display: grid; grid-template-columns: 1fr; gap: 18px; }
figure { margin: 0; padding: 18px 20px 16px; }
figure img { display: block; max-width: 100%; height: auto; }
figure.wide img { width: 100%; }
figcaption { margin-top: 10px; color: var(--muted); font-size: 14px; max-width: 62em; }
p.text { max-width: 46em; margin: 0 0 14px; }
.scroll + p.text { margin-top: 14px; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 18px; }
details + details { margin-top: 12px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; margin: 12px 0 4px; }
details .scroll { margin-top: 12px; }
tbody:first-child tr:first-child > * { border-top: 0; }
@media (max-width: 600px) { main { padding: 24px 14px 40px; } h1 { font-size: 28px; } .lead { font-size: 18px; } }
@media print {
  :root { --ground: #ffffff; }
  main { max-width: none; padding: 0; }
  figure, .tile, .scroll, details { break-inside: avoid; }
}
"""
