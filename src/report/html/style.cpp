#include "report/html/style.hpp"

namespace kvcache::report::html {
namespace {

// Text has a contrast of at least 4.5 with what is behind it, marks and lines of data at least 3
// (WCAG 2.2 AA); a test computes both. Colours of series also differ in the shape of their marks.
constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;
--page:#fbfbf9;--panel:#fff;--ink:#1d1d1b;--quiet:#5d5d58;--line:#dddcd6;--strong:#8d8c85;
--s1:#1c5fa8;--s2:#b4530f;--s3:#27754a;--s4:#7b4aa3;--other:#85847c;--good:#1f6f43;--bad:#a6282c;
--band:.16}
@media (prefers-color-scheme:dark){:root{
--page:#171716;--panel:#1f1f1d;--ink:#ecebe6;--quiet:#a8a79f;--line:#383733;--strong:#7b7a73;
--s1:#7db2f0;--s2:#ec9c5d;--s3:#7cc495;--s4:#c49fe6;--other:#8b8a82;--good:#7cc495;--bad:#f08d8a;
--band:.2}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:70rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .3rem;font-weight:650;letter-spacing:-.01em}
h2{font-size:1.2rem;line-height:1.3;margin:0 0 .6rem;font-weight:650}
h3{font-size:1rem;margin:1.6rem 0 .4rem;font-weight:650}
p{margin:.5rem 0;max-width:44rem}
a{color:var(--s1)}
small,.quiet{color:var(--quiet)}
small{font-size:.8125rem}
data,dd,td{font-variant-numeric:tabular-nums}
data{white-space:nowrap}
:focus-visible{outline:2px solid var(--s1);outline-offset:2px;border-radius:2px}
nav ul{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;list-style:none;margin:1.2rem 0 0;padding:0;
font-size:.9375rem}
nav a{display:inline-block;padding:.2rem 0;text-underline-offset:.2em}
section{margin-top:2.2rem;padding-top:1.3rem;border-top:1px solid var(--line)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;
margin:1.2rem 0 0;padding:0;list-style:none}
.cards li{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem}
.cards data{display:block;white-space:nowrap;font-size:1.35rem;line-height:1.25;font-weight:650;letter-spacing:-.01em}
.cards span{display:block;font-size:.8125rem;line-height:1.35;color:var(--quiet)}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(0,1fr);gap:.25rem 1.2rem;
margin:.6rem 0;font-size:.9375rem}
dt{color:var(--quiet)}
dd{margin:0}
.pair{display:grid;grid-template-columns:minmax(0,1fr);gap:0 2rem;align-items:start}
@media (min-width:56rem){.pair{grid-template-columns:minmax(0,.95fr) minmax(0,1.05fr)}}
.scroll{overflow-x:auto;max-width:100%;margin:.8rem 0;overflow-wrap:normal}
table{border-collapse:collapse;font-size:.875rem;line-height:1.4}
caption{text-align:left;font-weight:600;padding:0 0 .3rem;color:var(--ink)}
th,td{text-align:right;padding:.28rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap;
vertical-align:baseline}
th{font-weight:600}
thead th{color:var(--quiet);border-bottom-color:var(--strong)}
tbody th{font-weight:400}
th:first-child{text-align:left;padding-left:0}
tr>:last-child{padding-right:.1rem}
tbody th{white-space:normal;min-width:7rem}
td small{margin-left:.35em}
figure{margin:.9rem 0 1.2rem}
figcaption{font-weight:600;font-size:.9375rem;line-height:1.35}
figcaption small{display:block;font-weight:400}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;list-style:none;margin:.4rem 0 0;padding:0;
font-size:.8125rem}
.legend li{display:flex;align-items:center;gap:.4rem}
.plot{display:grid;grid-template-columns:auto minmax(0,1fr);margin:.9rem 1rem 0 0}
.drawing{display:block;width:100%;height:15rem;overflow:visible}
.y-labels,.x-labels{position:relative;font-size:.75rem;line-height:1;color:var(--quiet);
font-variant-numeric:tabular-nums}
.y-labels{min-width:3.4rem}
.y-labels span{position:absolute;right:.5rem;transform:translateY(50%);white-space:nowrap}
.x-labels{grid-column:2;height:1.3rem}
.x-labels span,.bar-labels span{position:absolute;top:.4rem;transform:translateX(-50%);
white-space:nowrap}
.x-title{margin:.35rem 1rem 0 3.4rem;text-align:center;font-size:.8125rem;color:var(--quiet);
max-width:none}
.grid{stroke:var(--line);stroke-width:1}
.grid.base{stroke:var(--strong)}
.reference{stroke:var(--quiet);stroke-width:1.5;stroke-dasharray:5 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.band{stroke:none;opacity:var(--band)}
.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}
.line.s1,.line.s2,.line.s3,.line.s4{stroke:var(--c)}
.band.s1,.band.s2,.band.s3,.band.s4{fill:var(--c)}
.mark{fill:var(--c)}
.whisker{stroke:var(--c,var(--ink));stroke-width:1.5}
.point{cursor:default}
.point:focus-visible{outline:none}
.point:focus-visible .mark{stroke:var(--ink);stroke-width:2.5}
.tip{display:none;font-size:.8125rem;font-weight:600;fill:var(--ink);stroke:var(--page);
stroke-width:4;paint-order:stroke;stroke-linejoin:round}
.point:focus .tip,.point:hover .tip{display:block}
.bar-rows{list-style:none;margin:.7rem 0 0;padding:0}
.bar-rows li{display:grid;align-items:center;column-gap:.8rem;font-size:.875rem;line-height:1.35;
grid-template-columns:minmax(0,1fr) auto;grid-template-areas:"name figure" "drawing drawing";
padding:.15rem 0}
.bar-name{grid-area:name}
.bar-figure{grid-area:figure;text-align:right}
.bar-figure small{margin-left:.4em;white-space:nowrap}
.bar-drawing{grid-area:drawing;display:block;width:100%;height:1.15rem;overflow:visible}
.bar-labels{height:1.2rem;font-size:.75rem;line-height:1;color:var(--quiet);padding:0}
.bar-labels div{position:relative}
.bar-labels span:first-child{transform:none}
.bar-labels span:last-child{transform:translateX(-100%)}
@media (min-width:44rem){
.bar-rows li{grid-template-columns:13rem minmax(0,1fr) 11.5rem;grid-template-areas:"name drawing figure"}
.bar-labels{padding:0 calc(11.5rem + .8rem) 0 calc(13rem + .8rem)}
.pair .bar-rows li{grid-template-columns:minmax(0,1fr) auto;
grid-template-areas:"name figure" "drawing drawing"}
.pair .bar-labels{padding:0}}
.bar{stroke:none}
.bar.s1{fill:var(--s1)}
.bar.other{fill:var(--other)}
.bar-drawing .whisker{stroke:var(--ink);stroke-width:2}
.cell{stroke:none;fill:color-mix(in srgb,var(--s1) 30%,var(--page))}
.cell.white{fill:color-mix(in srgb,var(--s1) var(--v),var(--page))}
.cell.black{fill:color-mix(in srgb,var(--s2) var(--v),var(--page))}
.icicle>svg{display:block;margin-top:.7rem}
.icicle text{font-size:.75rem;fill:var(--ink)}
pre{margin:.5rem 0;white-space:pre-wrap;font-size:.875rem}
.tree{font-size:.875rem}
.tree ul{list-style:none;margin:0;padding:0}
.tree details{margin:0}
.row,.tree summary.row{display:grid;align-items:center;column-gap:.9rem;width:auto;padding:0;
font-size:.875rem;line-height:1.7;color:var(--ink)}
.searched{min-width:50rem;max-width:62rem}
.searched .row{grid-template-columns:minmax(9rem,18rem) 8.5rem 8.5rem 3.2rem 10rem 6rem}
.row .label{position:sticky;left:0;background:var(--page);font-weight:600;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis;padding-left:calc(var(--depth)*.9rem + 1rem)}
.row .label::before{content:"";display:inline-block;width:1rem;margin-left:-1rem;
color:var(--quiet)}
summary.row .label::before{content:"▸"}
details[open]>summary.row .label::before{content:"▾"}
.tree summary::-webkit-details-marker{display:none}
.tree summary:hover .label{color:var(--s1)}
.row .label small{font-weight:400}
.row.head{border-bottom:1px solid var(--strong)}
.row.head span{color:var(--quiet);font-weight:600;white-space:nowrap}
.row .visits,.row .value{display:flex;gap:.5rem;align-items:center;min-width:0}
.row .visits data,.row .value data{min-width:3rem;text-align:right}
.row.head .visits,.row.head .value{justify-content:flex-end}
.row .prior,.row .tokens{text-align:right}
.row .blocks{white-space:nowrap}
.meter{flex:1;width:0;height:.7rem;min-width:2rem;overflow:visible}
.blocks i{display:inline-block;width:.55rem;height:.55rem;margin-right:3px;
border:1.5px solid var(--s3)}
.blocks i.shared{background:var(--s3)}
details{margin:.5rem 0}
summary{cursor:pointer;padding:.2rem 0;width:fit-content;font-size:.9375rem;color:var(--s1)}
.verdict{border-left:3px solid var(--good);padding:.1rem 0 .1rem .8rem;margin:.7rem 0}
.verdict.bad{border-color:var(--bad)}
.good{color:var(--good)}
.bad{color:var(--bad)}
.better,.worse{font-weight:600}
.better{color:var(--good)}
.worse{color:var(--bad)}
@media print{:root{--page:#fff;--panel:#fff}body{max-width:none;padding:0;font-size:10pt}
nav,.tip{display:none}section,figure,table{break-inside:avoid}.scroll{overflow:visible}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
)css";

}  // namespace

Markup style_sheet() { return Markup::of_this_program(kStyle); }

}  // namespace kvcache::report::html
