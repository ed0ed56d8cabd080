// The page of the application. Everything that A2E or a visitor wrote is set as text, never as HTML.

const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];
const MAX_IMAGE = 20 * 1024 * 1024; // bytes
const UPLOADS = 2; // at the same time
const STREAMS = 2; // a browser has six connections to one server for all its tabs, and videos need some
const INTERVAL = 2000; // milliseconds between two looks at the videos without a stream

const WORDS = { queued: "Queued", running: "In progress", succeeded: "Done", failed: "Failed" };
const PROBLEMS = {
  402: "There are not enough coins for this video. Nothing was started. Try again when there are.",
  413: "The image is too large. Choose one of up to 20 MB.",
  502: "A2E cannot be reached at the moment.",
  503: "A2E is busy at the moment.",
  504: "A2E has not confirmed this video yet.",
};
const SAFE = "You can try again: a video is never paid twice.";

const $ = (id) => document.getElementById(id);
const cards = new Map(); // id of a task -> Card
const streams = new Map(); // id of a task -> EventSource
const waiting = []; // cards whose image is not sent yet
let chosen = []; // { file, url }
let uploading = 0;
let isOffline = false;

class Card {
  constructor(name, prompt, thumbnail) {
    this.element = $("card").content.firstElementChild.cloneNode(true);
    this.find(".asked").textContent = prompt;
    this.find("h3").textContent = this.name = name;
    this.prompt = prompt;
    this.thumbnail = thumbnail;
    this.began = performance.now();
    this.status = null; // of the task
    this.find(".again").onclick = () => this.send();
    this.find(".remove").onclick = () => {
      this.element.remove();
      (document.querySelector(".card") ?? $("pick")).focus();
      showCounts();
    };
    if (thumbnail) this.find(".frame").append(Object.assign(new Image(), { src: thumbnail, alt: "" }));
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  get isOpen() {
    return this.status !== null && !this.status.final;
  }

  /** Show a state: the class of the card, the word, and a problem if there is one. */
  show(kind, word, problem = "", canRetry = false) {
    this.element.className = `card ${kind}`;
    if (this.find(".word").textContent !== word) this.find(".word").textContent = word;
    this.find(".problem").textContent = problem;
    this.find(".problem").hidden = !problem;
    if (!canRetry && this.find(".actions").contains(document.activeElement)) this.element.focus();
    this.find(".actions").hidden = !canRetry;
    this.find("progress").hidden = kind !== "works";
    if (kind !== "works") this.ended ??= performance.now();
    this.tick();
  }

  tick() {
    const seconds = Math.max(0, Math.round(((this.ended ?? performance.now()) - this.began) / 1000));
    const text = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    this.find(".time").textContent = this.status?.status === "failed" || !this.status?.final ? text : `in ${text}`;
  }

  /** Upload the image. One key for all attempts: the server starts one video for it. */
  async send() {
    this.key ??= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.ended = undefined;
    this.began = performance.now();
    this.show("works", "Waiting to upload");
    waiting.push(this);
    sendNext();
  }

  async upload() {
    this.show("works", "Uploading");
    const body = new FormData();
    body.append("image", this.file, this.name);
    body.append("prompt", this.prompt);
    for (;;) {
      let answer, data;
      try {
        answer = await fetch("videos", { method: "POST", headers: { "Idempotency-Key": this.key }, body });
        data = await answer.json().catch(() => null);
      } catch {
        setOffline(true);
        this.show("works", "Waiting for the server");
        await new Promise((resolve) => setTimeout(resolve, INTERVAL));
        continue; // with the same key
      }
      setOffline(false);
      if (answer.ok && data) return this.accept(data.id);
      const detail = typeof data?.detail === "string" ? data.detail : "";
      const reason = PROBLEMS[answer.status] ?? (answer.status < 500 && detail ? detail : "The server has a problem.");
      this.show("failed", "Not started", answer.status >= 500 ? `${reason} ${SAFE}` : reason, true);
      announce(`${this.name}: not started. ${reason}`);
      return undefined;
    }
  }

  accept(id) {
    keepThumbnail(id, this.thumbnail);
    const known = cards.get(id); // the list was read meanwhile
    known?.element.remove();
    this.id = id;
    cards.set(id, this);
    this.update(known?.status ?? { id, status: "queued", progress: null, final: false });
  }

  /** Take the status of the task, from the list or from its stream. */
  update(status) {
    if (this.status?.final) return;
    const before = this.status?.status;
    this.status = status;
    if (status.seconds !== undefined) this.began = performance.now() - 1000 * status.seconds;
    if (status.final) this.ended = performance.now();
    const bar = this.find("progress");
    if (status.progress > 0) bar.value = status.progress;
    else bar.removeAttribute("value");
    bar.setAttribute("aria-label", `Progress of ${this.name}`);
    if (status.status === "succeeded") {
      this.show("done", WORDS.succeeded);
      this.showVideo();
    } else if (status.status === "failed") {
      this.show("failed", WORDS.failed, status.failed_message || "A2E could not make this video.");
    } else {
      const percent = status.progress > 0 ? `, ${Math.round(status.progress)} %` : "";
      this.show("works", (WORDS[status.status] ?? WORDS.running) + percent);
    }
    if (before && status.final) announce(`${this.name}: ${this.find(".word").textContent}`);
  }

  showVideo() {
    const video = document.createElement("video");
    Object.assign(video, { controls: true, playsInline: true, src: `videos/${encodeURIComponent(this.id)}/result` });
    video.preload = this.thumbnail ? "none" : "metadata";
    if (this.thumbnail) video.poster = this.thumbnail;
    video.setAttribute("aria-label", `Video of ${this.name}`);
    video.onerror = () => {
      this.find(".problem").textContent = "The video cannot be loaded now. Reload the page to try again.";
      this.find(".problem").hidden = false;
    };
    this.find(".frame").replaceChildren(video);
  }
}

// Uploads

function sendNext() {
  while (uploading < UPLOADS && waiting.length) {
    uploading += 1;
    waiting
      .shift()
      .upload()
      .finally(() => {
        uploading -= 1;
        sendNext();
        updateStreams();
        showCounts();
      });
  }
}

/** Make a small image for the cards, also after a reload: 480 pixels wide. */
async function shrink(file) {
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, 480 / Math.max(image.width, image.height));
    const canvas = Object.assign(document.createElement("canvas"), {
      width: Math.max(1, image.width * scale),
      height: Math.max(1, image.height * scale),
    });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    image.close();
    return canvas.toDataURL("image/jpeg", 0.7);
  } catch {
    return null; // the server says what is wrong with it
  }
}

function keepThumbnail(id, thumbnail) {
  try {
    if (thumbnail) localStorage.setItem(`image of ${id}`, thumbnail);
  } catch {
    localStorage.clear(); // full
  }
}

// The form

function showProblem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function choose(files) {
  const problems = [];
  for (const file of files) {
    if (!TYPES.includes(file.type)) problems.push(`${file.name} is not an image (PNG, JPEG, WebP, GIF or BMP).`);
    else if (file.size > MAX_IMAGE) problems.push(`${file.name} is larger than 20 MB.`);
    else chosen.push({ file, url: URL.createObjectURL(file) });
  }
  showChosen();
  showProblem(problems.join("\n"));
}

function showChosen() {
  $("chosen").replaceChildren(
    ...chosen.map((it) => {
      const item = document.createElement("li");
      const remove = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "×" });
      remove.setAttribute("aria-label", `Remove ${it.file.name}`);
      remove.onclick = () => {
        URL.revokeObjectURL(it.url);
        chosen = chosen.filter((other) => other !== it);
        showChosen();
        $("pick").focus();
      };
      item.append(Object.assign(new Image(), { src: it.url, alt: it.file.name }), remove);
      return item;
    }),
  );
  $("pick").textContent = chosen.length ? "Choose more" : "Choose images";
  $("make").textContent = chosen.length > 1 ? `Make ${chosen.length} videos` : chosen.length ? "Make video" : "Make videos";
}

$("composer").onsubmit = async (event) => {
  event.preventDefault();
  const prompt = $("prompt").value.trim();
  if (!chosen.length || !prompt) {
    showProblem(chosen.length ? "Describe what should happen in the video." : "Choose at least one image.");
    $(chosen.length ? "prompt" : "pick").focus();
    return;
  }
  showProblem("");
  const files = chosen;
  chosen = [];
  showChosen();
  announce(files.length > 1 ? `${files.length} images are being uploaded` : `${files[0].file.name} is being uploaded`);
  for (const { file, url } of files) {
    const card = new Card(file.name, prompt, await shrink(file));
    URL.revokeObjectURL(url);
    card.file = file;
    $("videos").prepend(card.element);
    card.send();
    showCounts();
  }
};

$("prompt").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("composer").requestSubmit();
};
$("pick").onclick = () => $("files").click();
$("files").onchange = () => {
  choose($("files").files);
  $("files").value = ""; // the same file can be chosen again
};

// The whole page takes files, so that a drop beside the field does not open the image instead of the page.
const setOver = (isOver) => $("drop").classList.toggle("over", isOver);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  setOver([...event.dataTransfer.types].includes("Files"));
});
document.addEventListener("dragleave", (event) => event.relatedTarget === null && setOver(false));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  setOver(false);
  if (event.dataTransfer.files.length) choose(event.dataTransfer.files);
});
window.addEventListener("beforeunload", (event) => {
  if (uploading || waiting.length) event.preventDefault();
});

// The videos

function announce(text) {
  $("news").textContent = text;
}

function setOffline(value) {
  if (value === isOffline) return;
  isOffline = value;
  $("offline").textContent = value ? "The server cannot be reached. Your videos go on; this page tries again." : "";
  $("offline").hidden = !value;
}

function showCounts() {
  const all = document.querySelectorAll(".card").length;
  const working = document.querySelectorAll(".card.works").length;
  $("empty").hidden = all > 0;
  $("summary").textContent = working ? `${working} in progress` : "";
}

/** Read all videos. Those that are new here are put at their place: the newest first. */
async function refresh() {
  let videos;
  try {
    const answer = await fetch("videos");
    if (!answer.ok) throw new Error(answer.status);
    videos = await answer.json();
  } catch {
    return setOffline(true);
  }
  setOffline(false);
  for (const video of videos.reverse()) {
    let card = cards.get(video.id);
    if (!card) {
      card = new Card(video.name, video.prompt, localStorage.getItem(`image of ${video.id}`));
      card.id = video.id;
      cards.set(video.id, card);
      $("videos").prepend(card.element);
    }
    if (!streams.has(video.id) || video.final) card.update(video);
  }
  updateStreams();
  showCounts();
}

/** Listen to the oldest videos in progress; the list is read again for the others. A hidden page listens to nothing. */
function updateStreams() {
  const open = document.hidden ? [] : [...cards.values()].filter((card) => card.isOpen).slice(0, STREAMS);
  for (const [id, stream] of streams) {
    if (open.some((card) => card.id === id)) continue;
    stream.close();
    streams.delete(id);
  }
  for (const { id } of open) if (!streams.has(id)) listen(id);
}

function listen(id) {
  const stream = new EventSource(`videos/${encodeURIComponent(id)}/events`);
  streams.set(id, stream);
  const end = () => {
    stream.close();
    if (streams.get(id) === stream) streams.delete(id);
  };
  stream.onopen = () => setOffline(false);
  stream.onmessage = (event) => {
    const status = JSON.parse(event.data);
    cards.get(id).update(status);
    if (!status.final) return;
    end();
    updateStreams();
    showCounts();
  };
  stream.addEventListener("failure", () => {
    end(); // the list has the reason
    refresh();
  });
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) end();
    refresh(); // tells whether the server is there
  };
}

setInterval(() => {
  for (const card of cards.values()) if (card.isOpen) card.tick();
}, 1000);
setInterval(() => {
  const isAlone = [...cards.values()].some((card) => card.isOpen && !streams.has(card.id));
  if (!document.hidden && (isOffline || isAlone)) refresh();
}, INTERVAL);
document.addEventListener("visibilitychange", () => (document.hidden ? updateStreams() : refresh()));
refresh();
