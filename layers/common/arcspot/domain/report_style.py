"""The style sheet of the batch report: one column, light and dark, phone to wide screen, and print."""

PAGE_STYLE = """
:root{color-scheme:light dark;--page:#f4f6f9;--card:#fff;--ink:#161c24;--soft:#4d5866;--line:#d5dbe3;
--accent:#0b5fb4;--right:#11752b;--partly:#8a5a00;--wrong:#b3261e;--done:#2a9d4a;--leased:#0074d9;--ready:#9aa6b5;--dead:#d0473e;
--rejected:#e0861a;--cancelled:#7b6f8f;--other:#555}
@media(prefers-color-scheme:dark){:root{--page:#0b0f14;--card:#12171e;--ink:#eef2f7;--soft:#a5b1bf;--line:#2c3642;
--accent:#7ab8ff;--right:#5bd580;--partly:#f0b94d;--wrong:#ff8d84;--ready:#66727f;--cancelled:#9a8db0;--other:#999}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 20px 64px}
.brand{margin:0;color:var(--accent);font-weight:650;font-size:.85rem;letter-spacing:.04em}
h1{margin:2px 0 0;font-size:1.7rem;line-height:1.25;overflow-wrap:anywhere}
.note{margin:4px 0 0;color:var(--soft);font-size:.85rem}
code{font:.95em ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0 20px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 13px}
dt{color:var(--soft);font-size:.78rem}
dd{margin:0;font-size:1.22rem;white-space:nowrap;font-weight:650;line-height:1.3;font-variant-numeric:tabular-nums}
dd small{display:block;white-space:normal;color:var(--soft);font-size:.8rem;font-weight:400}
.bar{display:flex;gap:2px;height:12px;border-radius:6px;overflow:hidden;background:var(--line)}
.bar i{min-width:4px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:10px 0 0;padding:0;list-style:none;font-size:.85rem;
color:var(--soft)}
.legend b,.filters b{color:var(--ink);font-weight:650;font-variant-numeric:tabular-nums}
.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}
.s-done{background:var(--done)}.s-leased{background:var(--leased)}.s-ready{background:var(--ready)}
.s-dead{background:var(--dead)}.s-rejected{background:var(--rejected)}.s-cancelled{background:var(--cancelled)}
.s-other,.s-expired,.s-unreadable{background:var(--other)}
.b-right{background:var(--done)}.b-partly-right{background:var(--rejected)}.b-wrong{background:var(--dead)}
.b-answered{background:var(--leased)}.b-no-answer{background:var(--ready)}
.legend+.bar,.note+.bar{margin-top:18px}
h2{margin:32px 0 0;font-size:1.1rem}
a{color:var(--accent)}
.pages{display:flex;flex-wrap:wrap;gap:8px 20px;margin:18px 0;font-size:.9rem}
.index{margin:12px 0 0;padding:0;list-style:none;background:var(--card);border:1px solid var(--line);
border-radius:10px;overflow:hidden}
.index li{display:grid;grid-template-columns:minmax(0,1fr) minmax(90px,220px);gap:2px 20px;align-items:center;
padding:10px 16px}
.index li+li{border-top:1px solid var(--line)}
.index a{overflow-wrap:anywhere;text-decoration:none}
.index a:hover b{text-decoration:underline}
.index a b{margin-right:10px}
.index a span,.index small{color:var(--soft)}
.index small{grid-column:1/-1;font-size:.82rem;font-variant-numeric:tabular-nums}
.filters{display:flex;flex-wrap:wrap;gap:8px;margin:28px 0 0;padding:0;border:0}
.filters legend{float:left;margin-right:6px;padding:5px 0;color:var(--soft);font-size:.85rem}
.filters input{position:absolute;opacity:0}
.filters span{display:inline-block;padding:4px 12px;border:1px solid var(--line);border-radius:99px;
background:var(--card);font-size:.85rem;cursor:pointer}
.filters input:checked+span{border-color:var(--accent);box-shadow:inset 0 0 0 1px var(--accent)}
.filters input:focus-visible+span,summary:focus-visible,.picture:focus-visible{
outline:3px solid var(--accent);outline-offset:2px}
.jobs{margin-top:16px;background:var(--card);border:1px solid var(--line);border-radius:10px;overflow:hidden}
.job+.job{border-top:1px solid var(--line)}
summary{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 12px;padding:10px 42px 10px 16px;
position:relative;cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}
summary:hover{background:var(--page)}
summary::after{content:"▸";position:absolute;right:16px;top:10px;color:var(--soft);transition:transform .12s}
[open]>summary::after{transform:rotate(90deg)}
.sign{width:1.1em;text-align:center;font-weight:700}
.name{font-weight:600;overflow-wrap:anywhere}
.verdict{font-size:.85rem;color:var(--soft)}
.facts{margin-left:auto;color:var(--soft);font-size:.85rem;font-variant-numeric:tabular-nums}
.v-right .sign,.v-right .verdict{color:var(--right)}
.v-partly-right .sign,.v-partly-right .verdict{color:var(--partly)}
.v-wrong .sign,.v-wrong .verdict{color:var(--wrong)}
.job>.reason,.job>.note{margin:0;padding:0 16px 12px calc(28px + 1.1em)}
.reason{overflow-wrap:anywhere}
.picture{overflow-x:auto;margin:0 16px 12px}
.picture svg{display:block;max-width:100%;height:auto;min-width:min(100%,520px)}
body:has(#show-right:checked) .job:not(.v-right),
body:has(#show-partly-right:checked) .job:not(.v-partly-right),
body:has(#show-wrong:checked) .job:not(.v-wrong),body:has(#show-answered:checked) .job:not(.v-answered),
body:has(#show-no-answer:checked) .job:not(.v-no-answer){display:none}
@media(max-width:560px){main{padding:20px 12px 48px}.index li{grid-template-columns:1fr}
.facts{margin-left:calc(1.1em + 12px);flex-basis:80%}
.facts:empty{display:none}
.job>.reason,.job>.note{padding-left:16px}.picture svg{min-width:520px;max-width:none}}
@media(prefers-reduced-motion:reduce){summary::after{transition:none}}
@media print{body{background:#fff}.filters{display:none}.job{break-inside:avoid}}
"""
