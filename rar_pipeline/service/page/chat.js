"use strict";
// The page of the chat. Everything that came from people, data sets or a language model is put in as text, never as markup.

const at = (id) => document.getElementById(id);
const talk = at("talk"), words = at("words"), titles = at("titles"), news = at("news"), send = at("send");
const OPINIONS = [["accepted", "Will watch"], ["liked", "Like"], ["disliked", "Dislike"], ["seen", "Seen"]];
const OUT = new Set(["disliked"]);

let state, keeps = false;

function anew() {
  // turns: as the service reads them; picked: titles chosen for the message being typed; opinions: movie -> Map of opinion -> turn
  state = { id: uuid(), turns: [], picked: [], ignored: new Set(), opinions: new Map(), busy: null };
  talk.replaceChildren();
  titles.replaceChildren();
  at("welcome").hidden = false;
}

// crypto.randomUUID is missing where the page does not come from loopback or over TLS
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const name = (movie) => (movie.year === null ? movie.title : `${movie.title} (${movie.year})`);
const post = (path, body, more = {}) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...more });

function made(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function holding(opinion) {
  return [...state.opinions].filter(([, held]) => held.has(opinion)).map(([movie]) => movie);
}

// ---- titles, linked as they are typed

let waiting, asking, latest = 0;

words.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(look, 180);
});

// the words before the cursor, of which the last may be the beginning of a title
function fragment() {
  return words.value.slice(0, words.selectionStart).slice(-100);
}

async function look() {
  const text = words.value, mine = ++latest;
  if (!text.trim()) return show({ mentions: [], completing: "", completions: [] });
  asking?.abort();
  asking = new AbortController();
  try {
    const answer = await post("/api/link", { text, typing: fragment() }, { signal: asking.signal });
    if (answer.ok && mine === latest) show(await answer.json());
  } catch { /* typed on, or the service is away: sending will tell */ }
}

function show(linked) {
  const focused = titles.contains(document.activeElement);
  const parts = [], held = new Set(), said = [];
  state.picked = state.picked.filter((one) => words.value.toLowerCase().includes(one.text.toLowerCase()));
  const overlapped = (mention) => state.picked.some((one) => one.text.toLowerCase().includes(mention.text.toLowerCase()));
  const sure = [...state.picked.map((one) => one.movie), ...linked.mentions.filter((m) => m.movie && !overlapped(m)).map((m) => m.movie)];
  for (const movie of sure) {
    if (state.ignored.has(movie.movie_id) || held.has(movie.movie_id)) continue;
    held.add(movie.movie_id);
    said.push(name(movie));
    const chip = made("span", "chip sure", `✓ ${name(movie)}`);
    const no = made("button", "", "×");
    no.type = "button";
    no.setAttribute("aria-label", `${name(movie)} is not meant`);
    no.addEventListener("click", () => {
      state.ignored.add(movie.movie_id);
      state.picked = state.picked.filter((one) => one.movie.movie_id !== movie.movie_id);
      look();
      words.focus();
    });
    chip.append(no);
    parts.push(chip);
  }
  const offer = (movie, text, kind) => {
    const button = made("button", `chip ${kind}`, name(movie));
    button.type = "button";
    button.addEventListener("click", () => pick(text, movie));
    held.add(movie.movie_id);
    return button;
  };
  for (const mention of linked.mentions.filter((m) => !m.movie && !overlapped(m))) {
    const choices = mention.choices.filter((movie) => !held.has(movie.movie_id));
    if (choices.length) parts.push(made("span", "ask", `“${mention.text}”: did you mean`), ...choices.map((movie) => offer(movie, mention.text, "ask-chip")));
  }
  const rest = linked.completions.filter((movie) => !held.has(movie.movie_id) && !state.ignored.has(movie.movie_id)).slice(0, 4);
  if (rest.length) parts.push(made("span", "ask", `“${linked.completing}…”:`), ...rest.map((movie) => offer(movie, linked.completing, "may")));
  titles.replaceChildren(...parts);
  if (focused) (titles.querySelector("button") ?? words).focus();
  tell(said.length ? `Linked: ${said.join(", ")}` : "");
}

function pick(text, movie) {
  const start = words.value.toLowerCase().lastIndexOf(text.toLowerCase());
  const typed = name(movie);
  words.value = start < 0 ? `${words.value.trimEnd()} ${typed} ` : words.value.slice(0, start) + typed + words.value.slice(start + text.length);
  state.picked.push({ text: typed, movie });
  state.ignored.delete(movie.movie_id);
  words.focus();
  const end = start < 0 ? words.value.length : start + typed.length;
  words.setSelectionRange(end, end);
  look();
}

// arrows move between the text and the titles found, and among these
function step(event) {
  const buttons = [...titles.querySelectorAll("button")];
  const here = buttons.indexOf(document.activeElement);
  if (event.key === "Escape" || (event.key === "ArrowDown" && here >= 0)) words.focus();
  else if (event.key === "ArrowRight") buttons[Math.min(here + 1, buttons.length - 1)]?.focus();
  else if (event.key === "ArrowLeft") buttons[Math.max(here - 1, 0)]?.focus();
  else return;
  event.preventDefault();
}
titles.addEventListener("keydown", step);

words.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("composer").requestSubmit();
  } else if (event.key === "ArrowUp" && !words.value.slice(0, words.selectionStart).includes("\n") && titles.querySelector("button")) {
    event.preventDefault();
    titles.querySelector("button").focus();
  }
});

// ---- the conversation

let told = "";
function tell(text) {
  if (text === told) return;
  told = text;
  news.textContent = text;
}

function turn(speaker, text) {
  at("welcome").hidden = true;
  const node = made("li", `turn ${speaker}`);
  node.append(made("span", "unseen", speaker === "seeker" ? "You said: " : "Recommended: "), made("p", "words", text));
  talk.append(node);
  return node;
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = words.value.trim();
  if (!text || state.busy) return;
  if (state.turns.length > 57) return tell("This conversation is as long as it can be: begin a new one.");
  const movies = state.picked.filter((one) => text.toLowerCase().includes(one.text.toLowerCase())).map((one) => ({ text: one.text, movie_id: one.movie.movie_id }));
  words.value = "";
  clearTimeout(waiting);
  latest++;
  state.picked = [];
  titles.replaceChildren();
  const node = turn("seeker", text);
  state.turns.push({ speaker: "seeker", text, movies });
  answer(node);
});

async function answer(asked) {
  const mine = (state.busy = new AbortController()), whose = state;
  send.disabled = true;
  const node = turn("recommender", "…");
  node.setAttribute("aria-busy", "true");
  const said = node.querySelector(".words");
  const place = state.turns.length;
  const reply = { speaker: "recommender", text: "", movies: [] };
  asked.scrollIntoView({ block: "start" });
  try {
    const body = { turns: state.turns, liked: holding("liked"), disliked: holding("disliked"), seen: holding("seen"), ignored: [...state.ignored] };
    const response = await post("/api/answer", body, { signal: mine.signal });
    if (!response.ok) throw new Error(response.status === 422 ? "that is more than the service reads at once" : `the service answered ${response.status}`);
    let written = "", cards = [];
    for await (const [event, data] of events(response.body)) {
      if (event === "candidates") {
        cards = data.candidates;
        reply.text = data.said;
        reply.movies = named(cards.slice(0, 3));
        said.textContent = data.said;
        linkedIn(asked, data.mentions);
        node.append(list(cards, place));
        tell(`${cards.length} recommendations. ${data.said}`);
        asked.scrollIntoView({ block: "start" });
      } else if (event === "words") {
        written += data.text;
        said.textContent = written;
        reply.text = written.slice(0, 2000);
      } else if (event === "ranking") {
        ranked(node, data, cards, place, reply);
      } else if (event === "failed") {
        node.append(made("p", "note failed", `The language model had no say: ${data.text}`));
      }
    }
    whose.turns.push(reply);
  } catch (error) {
    if (mine.signal.aborted) return;
    whose.turns.pop();
    if (!said.textContent || said.textContent === "…") said.textContent = "";
    node.append(made("p", "note failed", `No answer: ${error.message}. Your message is back in the box.`));
    if (!words.value) words.value = asked.querySelector(".words").textContent;
    tell("No answer");
  } finally {
    node.removeAttribute("aria-busy");
    if (whose === state) {
      state.busy = null;
      send.disabled = false;
      if (state.opinions.size) keep();
      words.focus({ preventScroll: true });
    }
  }
}

const named = (cards) => cards.map((card) => ({ text: name(card).slice(0, 200), movie_id: card.movie_id }));

function linkedIn(node, mentions) {
  const found = mentions.filter((mention) => mention.movie);
  if (!found.length) return;
  const line = made("div", "linked");
  line.append(...found.map((mention) => made("span", "chip sure", `✓ ${name(mention.movie)}`)));
  node.append(line);
}

function ranked(node, data, before, place, reply) {
  const first = data.movies, chosen = new Set(first.map((card) => card.movie_id));
  if (first.length) {
    node.querySelector(".cards").replaceWith(list([...first, ...before.filter((card) => !chosen.has(card.movie_id))], place));
    reply.movies = named(first.slice(0, 5));
  }
  const left = data.unmatched ? ` ${data.unmatched} of its titles are not in the corpus and left out.` : "";
  node.append(made("p", "note", `The language model's order comes first.${left}`));
  tell(`The language model put ${first.length ? name(first[0]) : "nothing"} first.`);
}

function list(cards, place) {
  const found = made("ol", "cards");
  found.append(...cards.map((card) => shown(card, place)));
  return found;
}

function shown(card, place) {
  const node = at("card").content.firstElementChild.cloneNode(true);
  const part = (selector) => node.querySelector(selector);
  node.dataset.movie = card.movie_id;
  part(".title").textContent = card.title;
  part(".year").textContent = card.year ?? "";
  part(".genres").textContent = card.genres.join(", ");
  part(".people").textContent = card.people.join(", ");
  part(".plot").textContent = card.plot;
  part(".why").append(...card.why.slice(0, 3).map((reason) => made("li", "", reason.text)));
  const group = part(".opinions");
  group.setAttribute("aria-label", `What you think of ${name(card)}`);
  for (const [opinion, label] of OPINIONS) {
    const button = made("button", "", label);
    button.type = "button";
    button.dataset.opinion = opinion;
    button.addEventListener("click", () => react(card, opinion, place));
    group.append(button);
  }
  press(node, card.movie_id);
  return node;
}

function press(node, movie) {
  const held = state.opinions.get(movie) ?? new Map();
  for (const button of node.querySelectorAll(".opinions button")) {
    button.setAttribute("aria-pressed", String(held.has(button.dataset.opinion)));
  }
  node.classList.toggle("refused", [...held.keys()].some((opinion) => OUT.has(opinion)));
}

function react(card, opinion, place) {
  const held = state.opinions.get(card.movie_id) ?? new Map();
  if (held.has(opinion)) {
    held.delete(opinion);
  } else {
    if (opinion === "disliked") { held.delete("liked"); held.delete("accepted"); }
    if (opinion === "liked" || opinion === "accepted") held.delete("disliked");
    held.set(opinion, place);
  }
  state.opinions.set(card.movie_id, held);
  for (const node of talk.querySelectorAll(".card")) if (node.dataset.movie === card.movie_id) press(node, card.movie_id);
  tell(`${name(card)}: ${[...held.keys()].map((one) => OPINIONS.find(([key]) => key === one)[1]).join(", ") || "no opinion"}`);
  keep();
}

let keeping;
function keep() {
  if (!keeps) return;
  clearTimeout(keeping);
  const whose = state;
  keeping = setTimeout(() => {
    // seen and liked is liked: one opinion a movie and turn is kept
    const strongest = (held) => ["disliked", "liked", "accepted", "seen"].find((one) => held.has(one));
    const reactions = [...whose.opinions].filter(([, held]) => held.size).map(([movie_id, held]) => ({ turn: held.get(strongest(held)), movie_id, opinion: strongest(held) }));
    const body = { conversation_id: whose.id, turns: whose.turns, reactions, ignored: [...whose.ignored] };
    post("/api/feedback", body).then(async (answer) => {
      const told = await answer.json();
      if (!answer.ok) tell(`Your opinion was not kept: ${told.detail}`);
    }).catch(() => tell("Your opinion was not kept: the service does not answer."));
  }, 400);
}

// ---- events of the service

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    kept += value.replaceAll("\r\n", "\n");
    for (let end = kept.indexOf("\n\n"); end >= 0; end = kept.indexOf("\n\n")) {
      const lines = kept.slice(0, end).split("\n");
      kept = kept.slice(end + 2);
      const of = (field) => lines.filter((line) => line.startsWith(`${field}:`)).map((line) => line.slice(field.length + 1).trimStart()).join("\n");
      if (of("event")) yield [of("event"), JSON.parse(of("data") || "null")];
    }
  }
}

// ---- the beginning

for (const example of at("examples").children) {
  example.addEventListener("click", () => {
    words.value = example.textContent;
    words.focus();
    look();
  });
}
at("anew").addEventListener("click", () => {
  state.busy?.abort();
  send.disabled = false;
  anew();
  words.focus();
  tell("New conversation");
});

fetch("/api/health").then((answer) => answer.json()).then((health) => {
  keeps = health.keeps_feedback;
  const by = health.llm ? `answered by ${health.llm}` : "the retriever answers alone";
  at("who").textContent = `${health.version} of ${health.dataset}, ${health.movies.toLocaleString("en")} movies, ${by}`;
  at("keeps").textContent = keeps ? "What you say is kept, for the next training, once you press a button of a movie." : "Nothing that you say is kept.";
}).catch(() => { at("who").textContent = "The service does not answer."; });

anew();
words.focus();
