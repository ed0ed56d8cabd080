// The page of the sandbox. All text is set as text, never as HTML: prompts and paths come from strangers.

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children); // strings become text nodes
  return made;
}

// --- requests ---------------------------------------------------------------------------------------------------

// Without the password that the address of the page may contain: `fetch` rejects such addresses.
const at = (path) => location.origin + path;

let etag = "";
let state = null;
let chosen = "all"; // the phase of the tasks that are shown

async function refresh() {
  try {
    const phase = chosen;
    const query = phase === "all" ? "" : `?phase=${phase}`;
    const answer = await fetch(at(`/_sandbox/state${query}`), { headers: etag ? { "If-None-Match": etag } : {} });
    if (phase !== chosen) return; // another phase was chosen meanwhile
    if (answer.status === 200) {
      etag = answer.headers.get("ETag");
      state = await answer.json();
      show();
    } else if (answer.status !== 304) {
      throw new Error(`status ${answer.status}`);
    }
    setLive("live", "live");
  } catch {
    etag = "";
    setLive("lost", "the sandbox does not answer");
  }
}

function setLive(kind, text) {
  const live = byId("live");
  if (live.dataset.state === kind) return; // a screen reader reads changes only
  live.dataset.state = kind;
  live.textContent = text;
}

async function send(path, body) {
  try {
    const answer = await fetch(at(`/_sandbox/${path}`), {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    complain(answer.ok ? "" : (await answer.json()).error);
  } catch {
    complain("The sandbox does not answer.");
  }
  await refresh();
}

function complain(text) {
  byId("toast").textContent = text;
  byId("toast").hidden = !text;
}

// --- figures and switches ---------------------------------------------------------------------------------------

const speeds = [0.1, 1, 10, 100, 1000];

function show() {
  const running = state.phases.queued + state.phases.working;
  byId("url").textContent = state.url;
  byId("coins").textContent = state.coins.toLocaleString("en");
  byId("diamonds").textContent = state.diamonds.toLocaleString("en");
  byId("running").textContent = running.toLocaleString("en");
  byId("request-count").textContent = state.counts.requests.toLocaleString("en");
  byId("hold").setAttribute("aria-pressed", state.hold);
  showSpeed();
  showPending();
  byId("plan").textContent = state.faults ? planText(state.faults) : "None: every request is answered.";
  showTasks();
  showLogs();
  showSnippets();
}

const isRunning = ({ phase }) => phase === "queued" || phase === "working";

function showSpeed() {
  const select = byId("speed");
  const value = String(state.speed ?? 1);
  if (select.value === value) return;
  const known = [...new Set([...speeds, Number(value)])].sort((a, b) => a - b);
  select.replaceChildren(...known.map((speed) => element("option", { value: speed }, speed === 1 ? "1× (as A2E)" : `${speed}×`)));
  select.value = value;
}

function showPending() {
  const chips = state.next_faults.map(({ operation, fault }) =>
    element("li", {}, `${operation === "*" ? "any request" : operation}: ${faultText(fault)}`));
  if (state.next_failures) {
    chips.push(element("li", {}, state.next_failures === 1 ? "next task fails" : `next ${state.next_failures} tasks fail`));
  }
  byId("pending").replaceChildren(...chips);
}

function faultText(fault) {
  if (fault.type === "drop") return fault.after ? "answer lost" : "connection lost";
  return fault.type === "status" ? String(fault.status) : fault.type;
}

function planText(plan) {
  const parts = [];
  if (plan.seed !== undefined) parts.push(`seed ${plan.seed}`);
  for (const [operation, faults] of Object.entries(plan.chances ?? {})) {
    const sum = faults.reduce((total, fault) => total + fault.chance, 0);
    parts.push(`${operation}: ${Math.round(sum * 100)} % faults`);
  }
  for (const [operation, faults] of Object.entries(plan.script ?? {})) parts.push(`${operation}: a script of ${faults.length}`);
  for (const name of ["invisible", "missing", "lost_webhooks", "per_second"]) {
    if (plan[name]) parts.push(`${name} ${plan[name]}`);
  }
  return parts.join(", ");
}

for (const button of document.querySelectorAll("[data-fault]")) {
  button.addEventListener("click", () =>
    send("faults/next", { operation: byId("operation").value, fault: JSON.parse(button.dataset.fault) }));
}
byId("fail-next").addEventListener("click", () => send("failures/next", { count: 1 }));
byId("hold").addEventListener("click", () => send("hold", { hold: !state.hold }));
byId("speed").addEventListener("change", (event) => send("speed", { speed: Number(event.target.value) }));
byId("no-coins").addEventListener("click", () => send("coins", { coins: 0 }));
byId("coins-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send("coins", { coins: Number(byId("coins-input").value) });
});
byId("random-faults").addEventListener("click", () =>
  send("faults", { faults: { random: Math.floor(Math.random() * 1000), rate: 0.2 } }));
byId("no-faults").addEventListener("click", () => send("faults", { faults: null }));

byId("sample").addEventListener("click", async () => {
  // An ordinary request to A2E's API, as a program would send it.
  try {
    const answer = await fetch(at("/api/v1/userImage2Video/start"), {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${state.token}` },
      body: JSON.stringify(sampleStart()),
    });
    const body = answer.ok ? null : await answer.json();
    complain(body ? body.msg ?? body.message ?? "The start was rejected." : "");
  } catch {
    complain("The start got no answer.");
  }
  await refresh();
});

const sampleStart = () => ({
  name: "sample", image_url: state.sample_image, prompt: "slow zoom in, gentle light", negative_prompt: "blurry",
});

// --- tasks ------------------------------------------------------------------------------------------------------

const phases = { all: "All", queued: "Queued", working: "Working", succeeded: "Done", failed: "Failed" };
const cards = new Map();
let showsAll = false;
const FEW = 8;

byId("filter").append(...Object.entries(phases).flatMap(([phase, label]) => {
  const input = element("input", { type: "radio", name: "phase", id: `phase-${phase}`, value: phase, checked: phase === chosen });
  input.addEventListener("change", () => { chosen = phase; refresh(); });
  return [input, element("label", { for: `phase-${phase}` }, label, element("span", { id: `count-${phase}` }))];
}));

function showTasks() {
  const list = byId("task-list");
  const wanted = showsAll ? state.tasks : state.tasks.slice(0, FEW);
  const count = (phase) => (phase === "all" ? state.counts.tasks : state.phases[phase]);
  for (const phase of Object.keys(phases)) byId(`count-${phase}`).textContent = count(phase) || "";
  const ids = new Set(wanted.map((task) => task.id));
  for (const [id, card] of cards) {
    if (!ids.has(id)) { card.root.remove(); cards.delete(id); }
  }
  wanted.forEach((task, position) => {
    const card = cards.get(task.id) ?? new Card(task.id);
    cards.set(task.id, card);
    card.show(task);
    // Moving an element stops its video, so only new ones are put in.
    if (list.children[position] !== card.root) list.insertBefore(card.root, list.children[position] ?? null);
  });
  byId("no-tasks").hidden = state.counts.tasks > 0;
  byId("none-of-kind").hidden = wanted.length > 0 || state.counts.tasks === 0;
  byId("show-all").hidden = wanted.length === state.tasks.length;
  byId("show-all").textContent = `Show ${state.tasks.length - wanted.length} more`;
  const hidden = count(chosen) - state.tasks.length;
  byId("more-tasks").hidden = hidden <= 0;
  byId("more-tasks").textContent = `${hidden.toLocaleString("en")} older tasks are not shown.`;
}

byId("show-all").addEventListener("click", () => { showsAll = true; showTasks(); });

class Card {
  constructor(id) {
    this.media = element("div", { class: "media" });
    this.prompt = element("p", { class: "prompt" });
    this.pill = element("span", { class: "pill" });
    this.facts = element("span");
    this.reason = element("p", { class: "reason", hidden: true });
    this.finish = element("button", { type: "button" }, "Finish");
    this.fail = element("button", { type: "button" }, "Fail");
    this.finish.addEventListener("click", () => send(`tasks/${id}/finish`, {}));
    this.fail.addEventListener("click", () => send(`tasks/${id}/fail`, {}));
    this.buttons = element("div", { class: "buttons" }, this.finish, this.fail);
    const facts = element("p", { class: "facts" }, this.pill, this.facts, element("code", {}, id));
    const about = element("div", { class: "about" }, this.prompt, facts, this.reason);
    this.root = element("li", { class: "task", "data-id": id }, this.media, about, this.buttons);
    this.shown = "";
  }

  show(task) {
    const text = task.prompt || task.name || task.family.replaceAll("_", " ");
    this.root.classList.toggle("deleted", task.phase === "deleted");
    this.prompt.textContent = text;
    this.prompt.title = text;
    this.pill.textContent = task.phase === "deleted" ? `deleted (${task.status})` : task.status;
    this.pill.dataset.phase = task.phase;
    const coins = task.refunded ? `${task.coins} coins, refunded` : `${task.coins} coins`;
    this.facts.textContent = `${task.family.replaceAll("_", " ")} · ${coins} · ${clock(task.created)}`;
    this.reason.hidden = task.phase !== "failed";
    this.reason.textContent = [task.failed_code, task.failed_message].filter(Boolean).join(": ");
    this.buttons.hidden = !isRunning(task);
    this.finish.setAttribute("aria-label", `Finish: ${text}`);
    this.fail.setAttribute("aria-label", `Fail: ${text}`);
    this.showMedia(task, text);
  }

  showMedia(task, text) {
    const result = task.results.find(({ type }) => type);
    const shown = JSON.stringify([result, task.image, task.phase]);
    if (shown === this.shown) return; // a playing video goes on
    this.shown = shown;
    this.media.classList.toggle("dim", !result);
    if (result?.type.startsWith("video/")) {
      this.media.replaceChildren(element("video", {
        src: at(`${result.path}#t=0.1`), controls: true, preload: "metadata", playsinline: true, loop: true,
        "aria-label": `Result: ${text}`,
      }));
    } else if (result?.type.startsWith("audio/")) {
      this.media.replaceChildren(element("audio", { src: at(result.path), controls: true, "aria-label": `Result: ${text}` }));
    } else if (result || task.image) {
      const source = at(result ? result.path : task.image);
      this.media.replaceChildren(element("img", { src: source, loading: "lazy", alt: `${result ? "Result" : "Image"}: ${text}` }));
    } else {
      const words = { succeeded: "result is gone", failed: "no result" };
      this.media.replaceChildren(words[task.phase] ?? "no preview");
    }
  }
}

const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

// --- requests, ledger, webhooks ---------------------------------------------------------------------------------

function showLogs() {
  const status = (code) => element("td", { class: code === 0 || code >= 400 ? "bad" : "" }, code === 0 ? "no answer" : String(code));
  fill("requests", state.requests, (one) => [
    element("td", {}, clock(one.time)),
    element("td", { class: "path", title: one.path }, `${one.method} ${shortPath(one.path)}`),
    status(one.status),
    element("td", {}, one.fault),
  ]);
  fill("ledger", state.ledger, (one) => [
    element("td", {}, clock(one.time)),
    element("td", {}, one.reason),
    element("td", { class: one.coins > 0 ? "number plus" : "number" }, amount(one)),
  ]);
  fill("webhooks", state.webhooks, (one) => [
    element("td", {}, clock(one.time)),
    element("td", {}, one.event),
    element("td", { class: "mono", title: one.task_id }, `…${one.task_id.slice(-6)}`),
    status(one.status),
  ]);
}

// The paths of stored files are long, and their begin is always the same.
const shortPath = (path) => path.replace(/^\/(cdn|storage)\/.*\//, "/$1/…/");

function amount({ coins, diamonds }) {
  const signed = (value) => (value > 0 ? `+${value}` : String(value).replace("-", "−"));
  return diamonds ? `${coins ? `${signed(coins)}, ` : ""}${signed(diamonds)} diamonds` : signed(coins);
}

function fill(id, entries, cells) {
  const body = byId(id);
  body.replaceChildren(...entries.map((entry) => element("tr", {}, ...cells(entry))));
  const table = body.closest("table");
  table.hidden = entries.length === 0;
  table.nextElementSibling.hidden = entries.length > 0;
}

// --- snippets ---------------------------------------------------------------------------------------------------

const inShell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const inPython = (text) => JSON.stringify(text);

function showSnippets() {
  const { url, token, sample_image: image } = state;
  setSnippet("curl", `curl -s ${inShell(`${url}/api/v1/userImage2Video/start`)} \\
  -H ${inShell(`Authorization: Bearer ${token}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${inShell(JSON.stringify(sampleStart()))}`);
  setSnippet("python", `import asyncio

from a2e_async import A2EClient


async def main():
    async with A2EClient(
        ${inPython(token)},
        base_url=${inPython(url)},
    ) as a2e:
        task = await a2e.image_to_video.start(
            image_url=${inPython(image)},
            prompt="slow zoom in, gentle light",
            negative_prompt="blurry",
        )
        await task.wait_until_done()
        await task.download("sample.mp4", if_exists="overwrite")


asyncio.run(main())`);
  setSnippet("control", `curl -s ${inShell(`${url}/_sandbox/coins`)} \\
  -H 'Content-Type: application/json' -d '{"coins": 0}'
curl -s ${inShell(`${url}/_sandbox/faults/next`)} \\
  -H 'Content-Type: application/json' \\
  -d '{"operation": "start", "fault": "429"}'
curl -s ${inShell(`${url}/_sandbox/state`)}`);
}

function setSnippet(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text; // a selection survives
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = byId(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      const label = button.firstChild;
      label.data = "Copied";
      setTimeout(() => { label.data = "Copy"; }, 1500);
    } catch {
      // No clipboard, for example on another machine without TLS: the text is selected instead.
      getSelection().selectAllChildren(source);
    }
  });
}

// --- life -------------------------------------------------------------------------------------------------------

async function live() {
  if (!document.hidden) await refresh();
  setTimeout(live, 1000);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
live();
