// SPDX-License-Identifier: Apache-2.0
// Alerts are the attacker's text: all of it goes through textContent, nothing is ever parsed as HTML.
"use strict";

const KEPT = 1000, SHOWN = 200, RATES = 120;
const PRIORITIES = ["Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"];
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const alerts = [];              // the newest first
const rates = [];
let token = sessionStorage.getItem("falcolib-token") || "";
let paused = false, dirty = false, before = null, detail = null, skipped = 0;

// Characters that aren't seen, and those that turn the text around them, are written out.
function plain(text) {
  return String(text).replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

function make(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = plain(text);
  if (kind) made.className = kind;
  return made;
}

function headers() {
  return token ? {Authorization: "Bearer " + token} : {};
}

// ---- what the server tells ----

async function listen() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    try {
      const answer = await fetch("page/alerts", {headers: headers(), cache: "no-store"});
      if (answer.status === 401) {
        await ask(token ? "This token is not the right one." : "");
        wait = 250;
        continue;
      }
      if (!answer.ok) throw new Error(answer.status === 503 ? "too many pages are open" : "status " + answer.status);
      say("live", "Live");
      alerts.length = 0;
      $("rows").replaceChildren();
      wait = 250;
      await read(answer.body.getReader());
      say("lost", "The run has ended; waiting for the next …");
    } catch (error) {
      say("lost", "Not connected: " + error.message);
    }
    await new Promise((go) => setTimeout(go, wait));
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  for (let rest = ""; ; ) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += decoder.decode(value, {stream: true});
    const messages = rest.split("\n\n");
    rest = messages.pop();
    for (const message of messages) take(message);
  }
}

function take(message) {
  let name = "message", data = "";
  for (const line of message.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (!data) return;
  const told = JSON.parse(data);
  if (name === "state") return state(told);
  if (name === "skipped") skipped += told.count;
  if (name === "alerts") {
    for (const alert of told) {
      alert.search = (alert.rule + " " + alert.text + " " + alert.tags.join(" ")).toLowerCase();
      alerts.unshift(alert);
      offer("rule", alert.rule);
      offer("source", alert.source);
    }
    alerts.length = Math.min(alerts.length, KEPT);
  }
  dirty = true;
}

function state(now) {
  $("host").textContent = now.hostname;
  document.title = number.format(now.alerts) + " alerts: falcolib on " + now.hostname;
  const rate = before && now.time > before.time && now.events >= before.events
    ? (now.events - before.events) / (now.time - before.time) : null;
  before = now;
  if (rate !== null) {
    rates.push(rate);
    if (rates.length > RATES) rates.shift();
    $("rate").textContent = number.format(rate);
    draw();
  }
  $("events").textContent = number.format(now.events);
  $("uptime").textContent = "in " + span(now.time - now.started) + ", with " + number.format(now.rules) + " rules";
  $("total").textContent = number.format(now.alerts);
  const queued = Object.values(now.outputs).reduce((sum, output) => sum + output.queued, 0);
  const dropped = Object.values(now.outputs).reduce((sum, output) => sum + output.dropped, 0);
  $("outputs").textContent = dropped ? number.format(dropped) + " not delivered by outputs"
    : queued ? number.format(queued) + " wait for outputs" : "all given to the outputs";
  $("lost").textContent = number.format(now.lost);
  const share = now.lost ? 100 * now.lost / (now.lost + now.events) : 0;
  $("lostnote").textContent = now.lost ? share.toFixed(share < 0.1 ? 4 : 2) + " % of all" : "nothing was lost";
  $("losses").classList.toggle("bad", now.lost > 0);
  bars("rules", now.by_rule, "rule");
  bars("sources", now.by_source, "source");
  bars("priorities", Object.fromEntries(PRIORITIES.filter((name) => now.by_priority[name]).map((name) => [name, now.by_priority[name]])), "priority");
}

function say(kind, text) {
  if ($("connection").textContent === text) return;
  $("connection").dataset.state = kind;
  $("connection").textContent = text;
}

function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(units.findIndex(([, length]) => seconds >= length), 0);
  const [name, length] = units[seconds < 1 ? 3 : at];
  return Math.floor(seconds / length) + " " + name;
}

function ask(note) {
  return new Promise((done) => {
    $("loginnote").textContent = note;
    say("waiting", "A token is needed");
    if (!$("login").open) $("login").showModal();
    $("login").addEventListener("close", () => {
      token = $("token").value;
      sessionStorage.setItem("falcolib-token", token);
      done();
    }, {once: true});
  });
}

// ---- what is shown ----

function offer(id, value) {
  const select = $(id);
  if ([...select.options].some((option) => option.value === value)) return;
  const option = make("option", value);
  option.value = value;
  const next = [...select.options].slice(1).find((other) => other.value > value);
  select.insertBefore(option, next || null);
}

function draw() {
  const most = Math.max(...rates, 1), step = 120 / (RATES - 1), from = 120 - (rates.length - 1) * step;
  const points = rates.map((rate, n) => (from + n * step).toFixed(1) + " " + (30 - 27 * rate / most).toFixed(1));
  const line = "M" + points.join("L");
  const svg = $("rates");
  while (svg.children.length < 2) svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.children[0].setAttribute("class", "under");
  svg.children[0].setAttribute("d", line + "L120 32L" + from.toFixed(1) + " 32Z");
  svg.children[1].setAttribute("d", line);
}

function bars(id, counts, filter) {
  const list = $(id), entries = Object.entries(counts);
  if (filter !== "priority") entries.sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  entries.length = Math.min(entries.length, 12);
  const most = Math.max(...entries.map(([, count]) => count), 1);
  while (list.children.length > entries.length) list.lastChild.remove();
  entries.forEach(([name, count], n) => {
    let item = list.children[n];
    if (!item) {
      item = make("li");
      const button = make("button");
      button.type = "button";
      button.append(make("span", "", "name"), make("span", "", "count"));
      button.addEventListener("click", () => {
        if (filter === "priority") $("priority").value = String(PRIORITIES.indexOf(item.dataset.name));
        else { offer(filter, item.dataset.name); $(filter).value = item.dataset.name; }
        show();
      });
      item.append(button, document.createElement("progress"));
      list.append(item);
    }
    item.dataset.name = name;
    const [button, bar] = item.children;
    button.title = "Show only: " + plain(name);
    button.children[0].textContent = plain(name);
    button.children[1].textContent = number.format(count);
    bar.max = most;
    bar.value = count;
    bar.setAttribute("aria-hidden", "true");
  });
}

function row(alert) {
  const made = make("tr");
  made.dataset.seq = alert.seq;
  const priority = make("td"), rule = make("td"), text = make("td", undefined, "text");
  priority.append(make("span", alert.priority, "chip p" + PRIORITIES.indexOf(alert.priority)));
  const button = make("button", alert.rule, "rule");
  button.type = "button";
  button.setAttribute("aria-haspopup", "dialog");
  button.addEventListener("click", () => open(alert, button));
  rule.append(button);
  text.append(make("div", alert.text));
  const time = make("td", alert.clock, "time");
  time.title = alert.time;
  made.append(time, priority, rule, text, make("td", alert.source));
  return made;
}

function show() {
  dirty = false;
  const text = $("text").value.trim().toLowerCase(), most = Number($("priority").value), rule = $("rule").value, source = $("source").value;
  const wanted = alerts.filter((alert) => (!text || alert.search.includes(text)) && PRIORITIES.indexOf(alert.priority) <= most
    && (!rule || alert.rule === rule) && (!source || alert.source === source));
  const shown = wanted.slice(0, SHOWN), rows = $("rows");
  const old = new Map([...rows.children].map((made) => [made.dataset.seq, made]));
  const focus = document.activeElement && document.activeElement.closest ? document.activeElement.closest("#rows tr") : null;
  const next = shown.map((alert) => old.get(String(alert.seq)) || row(alert));
  const keep = new Set(next);
  for (const made of old.values()) if (!keep.has(made)) made.remove();
  let at = rows.firstChild;
  for (const made of next) {
    if (made === at) at = at.nextSibling;
    else rows.insertBefore(made, at);
  }
  if (focus && !keep.has(focus)) $("alerts").focus();
  $("shown").textContent = (wanted.length === alerts.length ? (alerts.length === 1 ? "1 alert" : number.format(alerts.length) + " newest alerts")
    : number.format(wanted.length) + " of the " + number.format(alerts.length) + " newest alerts")
    + (wanted.length > shown.length ? ", " + SHOWN + " of them shown" : "") + (skipped ? "; " + number.format(skipped) + " came too fast for this page" : "")
    + (paused ? "; paused" : "");
  $("empty").hidden = wanted.length > 0;
  $("empty").textContent = alerts.length ? "No alert fits the filters." : "No alerts yet. They appear here as they happen.";
}

async function open(alert, from) {
  detail = alert.seq;
  $("detailrule").textContent = plain(alert.rule);
  $("detailtext").textContent = plain(alert.text);
  $("detailfields").replaceChildren(...Object.entries({time: alert.time, priority: alert.priority, source: alert.source, tags: alert.tags.join(", "), ...alert.fields})
    .map(([name, value]) => {
      const made = make("tr"), head = make("th", name);
      head.scope = "row";
      made.append(head, make("td", value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value)));
      return made;
    }));
  $("explanation").textContent = "…";
  $("detail").showModal();
  $("detail").addEventListener("close", () => from.isConnected ? from.focus() : $("alerts").focus(), {once: true});
  let told;
  try {
    const answer = await fetch("page/explain?alert=" + alert.seq, {headers: headers(), cache: "no-store"});
    told = await answer.text();
  } catch (error) {
    told = "Not connected: " + error.message;
  }
  if (detail === alert.seq) $("explanation").textContent = plain(told);
}

// ---- what people do ----

PRIORITIES.forEach((name, n) => {
  const option = make("option", n === 7 ? "all priorities" : n === 0 ? name : name + " and graver");
  option.value = String(n);
  $("priority").append(option);
});
$("priority").value = "7";
$("filters").addEventListener("input", show);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  show();
});
$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && !$("detail").open && !$("login").open) {
    event.preventDefault();
    $("text").focus();
  }
});
setInterval(() => { if (dirty && !paused) show(); }, 200);
show();
listen();
