"use strict";
// Texts of jobs come from job files and from A2E. They are set as text, never as HTML.
const { about, jobs } = JSON.parse(document.getElementById("data").textContent);
const PAGE = 60; // jobs of a page
const STATES = ["succeeded", "without a file", "failed", "uncertain", "running", "sending", "new"];
const LABELS = { sending: "being sent", new: "not started" };
const SIGNS = { "without a file": "✗", failed: "✗", uncertain: "?", running: "…", sending: "…" };
const get = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 });
const time = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
const label = (state) => LABELS[state] ?? state;
const names = new Intl.Collator("en", { numeric: true });

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const counts = new Map();
for (const [index, job] of jobs.entries()) {
  job.index = index;
  job.words = [job.key, job.prompt, job.error, job.task].join("\n").toLowerCase();
  counts.set(job.state, (counts.get(job.state) ?? 0) + 1);
}
const shownStates = STATES.filter((state) => counts.has(state));

const SORTS = {
  order: (a, b) => a.index - b.index,
  name: (a, b) => names.compare(a.key, b.key) || a.index - b.index,
  newest: (a, b) => (b.finished ?? 0) - (a.finished ?? 0) || a.index - b.index,
  coins: (a, b) => (b.coins ?? 0) - (a.coins ?? 0) || a.index - b.index,
};

// What is shown. The address has it too, so that "back" and a bookmark work.
const view = { state: "all", search: "", sort: "order", page: 1 };
let found = [];
let pages = 1;
let current = null; // the job in the viewer

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  view.state = shownStates.includes(given.get("state")) ? given.get("state") : "all";
  view.search = given.get("search") ?? "";
  view.sort = given.get("sort") in SORTS ? given.get("sort") : "order";
  view.page = Number.parseInt(given.get("page"), 10) || 1;
  get("search").value = view.search;
  get("sort").value = view.sort;
  document.querySelector(`#filter input[value="${view.state}"]`).checked = true;
}

function writeAddress() {
  const given = new URLSearchParams();
  if (view.state !== "all") given.set("state", view.state);
  if (view.search) given.set("search", view.search);
  if (view.sort !== "order") given.set("sort", view.sort);
  if (view.page > 1) given.set("page", view.page);
  history.replaceState(null, "", `#${given}`);
}

function show() {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  found = jobs
    .filter((job) => (view.state === "all" || job.state === view.state) && words.every((word) => job.words.includes(word)))
    .sort(SORTS[view.sort]);
  pages = Math.max(1, Math.ceil(found.length / PAGE));
  view.page = Math.min(Math.max(1, view.page), pages);
  const first = (view.page - 1) * PAGE;
  const shown = found.slice(first, first + PAGE);
  observer.disconnect();
  get("grid").replaceChildren(...shown.map(card));
  for (const video of document.querySelectorAll("#grid video")) observer.observe(video);
  const noun = found.length === 1 ? "job" : "jobs";
  get("found").textContent = pages > 1
    ? `${number(first + 1)} to ${number(first + shown.length)} of ${number(found.length)} ${noun}` : `${number(found.length)} ${noun}`;
  get("empty").hidden = found.length > 0;
  for (const pager of document.querySelectorAll(".pager")) showPager(pager);
}

function change(changes) {
  Object.assign(view, { page: 1 }, changes);
  show();
  writeAddress();
}

function turn(page) {
  change({ page });
  get("tools").scrollIntoView();
}

function showPager(pager) {
  pager.hidden = pages === 1;
  if (pages === 1) return;
  const choose = element("select", { ariaLabel: "Page" });
  for (let page = 1; page <= pages; page += 1) choose.append(element("option", { value: page, textContent: `page ${page}` }));
  choose.value = view.page;
  choose.onchange = () => turn(Number(choose.value));
  const step = (text, page) => element("button", {
    type: "button", textContent: text, disabled: page < 1 || page > pages, onclick: () => turn(page),
  });
  pager.replaceChildren(step("Previous", view.page - 1), choose, element("span", { textContent: `of ${pages}` }), step("Next", view.page + 1));
}

// Without extracted frames, a video shows its own first one. It is loaded only near the window.
const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      target.src = target.dataset.src;
      observer.unobserve(target);
    }
  }
}, { rootMargin: "300px" });

function preview(job) {
  if (job.frame) {
    const image = (className) => element("img", { src: job.frame, alt: "", loading: "lazy", decoding: "async", className });
    return [image("back"), image("front")];
  }
  if (job.file && job.kind === "image") return [element("img", { src: job.file, alt: "", loading: "lazy", decoding: "async" })];
  if (job.file && job.kind === "video") {
    const video = element("video", { muted: true, preload: "metadata", playsInline: true, tabIndex: -1 });
    video.dataset.src = `${job.file}#t=0.001`;
    return [video];
  }
  const hint = job.file ? "audio" : missing(job);
  const sign = job.file ? "♪" : SIGNS[job.state] ?? "–";
  return [element("span", { className: "hint" }, element("span", { className: "sign", textContent: sign, ariaHidden: "true" }), hint)];
}

function missing(job) {
  if (job.lost) return "the file was moved or deleted";
  return job.state === "failed" ? "no result" : job.state === "uncertain" ? "outcome unknown" : job.state === "without a file" ? "not downloaded" : "no result yet";
}

function card(job) {
  const open = element("button", { type: "button", className: "open", onclick: () => viewJob(job) }, ...preview(job));
  open.ariaLabel = `${job.file && job.kind !== "image" ? "Play" : "Show"} ${job.key}`;
  if (job.file && job.kind !== "image") open.append(element("span", { className: "play" }));
  const made = element(
    "li", { className: "job" }, open,
    element("div", { className: "about" },
      element("p", { className: "name", textContent: job.key, title: job.key }),
      job.error ? element("p", { className: "error", textContent: job.error, title: job.error }) : null,
      job.prompt ? element("p", { className: "prompt", textContent: job.prompt, title: job.prompt }) : null,
      element("p", { className: "facts" },
        element("span", { className: "state", textContent: label(job.state) }),
        element("span", { textContent: coins(job) }))));
  made.dataset.state = job.state;
  return made;
}

function coins(job) {
  return job.coins === null ? "cost unknown" : `${number(job.coins)} ${job.coins === 1 ? "coin" : "coins"}`;
}

function viewJob(job) {
  current = job;
  const viewer = get("viewer");
  viewer.dataset.state = job.state;
  get("viewer-name").textContent = job.key;
  get("viewer-error").textContent = job.error ?? "";
  get("viewer-prompt").textContent = job.prompt ?? "";
  get("stage").replaceChildren(player(job));
  const facts = [
    ["Status", label(job.state)], ["Price", coins(job)], ["Starts", job.starts > 1 ? number(job.starts) : ""],
    ["Finished", job.finished ? time(job.finished) : ""], ...Object.entries(job.options), ["Task", job.task ?? ""],
  ];
  const list = facts.filter(([, text]) => text).map(([name, text]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: text, className: text.length > 20 ? "id" : "" })));
  if (job.file) list.push(element("div", {}, element("dt", { textContent: "File" }),
    element("dd", {}, element("a", { href: job.file, target: "_blank", rel: "noopener", textContent: job.name }))));
  get("viewer-facts").replaceChildren(...list);
  const place = found.indexOf(job);
  get("previous").disabled = place <= 0;
  get("next").disabled = place === found.length - 1;
  if (!viewer.open) viewer.showModal();
}

function player(job) {
  if (!job.file) return element("p", { textContent: missing(job) });
  if (job.kind === "image") return element("img", { src: job.file, alt: job.prompt ?? "" });
  const made = element(job.kind === "audio" ? "audio" : "video", { src: job.file, controls: true, autoplay: true, loop: true, playsInline: true });
  if (job.frame) made.poster = job.frame;
  made.onerror = () => get("stage").replaceChildren(element("p", { textContent: "The browser cannot play the file. The link below opens it." }));
  return made;
}

function step(by) {
  const job = found[found.indexOf(current) + by];
  if (job) viewJob(job);
}

get("viewer").addEventListener("close", () => {
  get("stage").replaceChildren();
  const page = Math.floor(found.indexOf(current) / PAGE) + 1;
  if (page !== view.page) change({ page });
  get("grid").children[found.indexOf(current) % PAGE]?.querySelector("button").focus();
});
get("viewer").addEventListener("click", (event) => { if (event.target === get("viewer")) get("viewer").close(); });
get("close").onclick = () => get("viewer").close();
get("previous").onclick = () => step(-1);
get("next").onclick = () => step(1);
get("reset").onclick = () => { location.hash = ""; readAddress(); change({}); get("search").focus(); };
get("tools").addEventListener("submit", (event) => event.preventDefault());
let typing;
get("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => change({ search: get("search").value }), 150);
});
get("sort").addEventListener("change", () => change({ sort: get("sort").value }));
get("filter").addEventListener("change", (event) => change({ state: event.target.value }));
addEventListener("hashchange", () => { readAddress(); show(); });

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (get("viewer").open) {
    // In the player, these keys seek.
    if (sideways && !["VIDEO", "AUDIO"].includes(event.target.tagName)) { event.preventDefault(); step(sideways); }
    return;
  }
  if (event.key === "/" && event.target !== get("search")) { event.preventDefault(); get("search").focus(); return; }
  const cards = [...get("grid").children];
  const at = cards.indexOf(event.target.closest?.(".job"));
  if (at < 0) return;
  const columns = getComputedStyle(get("grid")).gridTemplateColumns.split(" ").length;
  const by = sideways ?? { ArrowUp: -columns, ArrowDown: columns, Home: -at, End: cards.length - 1 - at }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  cards[at + by]?.querySelector("button").focus();
});

function showTotals() {
  const spent = jobs.reduce((sum, job) => sum + (job.coins ?? 0), 0) + about.pruned_coins;
  const figures = [[number(jobs.length), jobs.length === 1 ? "job" : "jobs"], [number(counts.get("succeeded") ?? 0), "succeeded"], [number(spent), "coins"]];
  get("figures").append(...figures.map(([value, name]) => element("li", {}, element("b", { textContent: value }), name)));
  get("about").textContent = `Batch at ${about.host}, created ${time(about.created)}. As of ${time(about.written)}.`;
  for (const state of shownStates) {
    const part = element("i");
    part.dataset.state = state;
    part.style.flexGrow = counts.get(state);
    get("bar").append(part);
  }
  for (const state of ["all", ...shownStates]) {
    const id = `state-${state.replaceAll(" ", "-")}`;
    const choice = element("label", { htmlFor: id }, label(state), element("span", { textContent: number(state === "all" ? jobs.length : counts.get(state)) }));
    choice.dataset.state = state;
    get("filter").append(element("input", { type: "radio", name: "state", value: state, id }), choice);
  }
}

showTotals();
readAddress();
show();
