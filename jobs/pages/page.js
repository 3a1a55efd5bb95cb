// The page of one video. Text of the timeline reaches the document as text only (`textContent`).
"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  data.runs = data.runs.map(([person, start, end, label, confidence, valence]) =>
    ({ person, start, end, label: data.labels[label] ?? null, confidence, valence }));
  for (const segment of data.segments) { // the transcript is the words, where there are words
    const [from, to] = segment.words;
    if (to > from) segment.transcript = data.words.slice(from, to).map((w) => w[2]).join(" ");
  }
  const $ = (id) => document.getElementById(id);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

  function el(tag, className, text, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text != null) node.textContent = text;
    node.append(...children);
    return node;
  }

  function clock(s, digits = 0) {
    const ticks = Math.floor(s * 10 ** digits + 1e-6);
    const whole = Math.floor(ticks / 10 ** digits);
    const [h, m, sec] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const tail = digits ? "." + String(ticks % 10 ** digits).padStart(digits, "0") : "";
    const short = String(sec).padStart(2, "0") + tail;
    return h ? `${h}:${String(m).padStart(2, "0")}:${short}` : `${m}:${short}`;
  }
  const span = (one) => `${clock(one.start, 1)} – ${clock(one.end ?? one.start, 1)}`;
  const words = (name) => String(name).replaceAll("_", " ");
  const percent = (x) => (x == null ? "confidence unknown" : `${Math.round(100 * x)}% sure`);
  const known = (label) => data.labels.includes(label);
  const mood = (label, sure) => (known(label) ? `${label}, ${percent(sure)}` : "unknown");

  // ------------------------------------------------------------------ player
  // The video where the browser can play it; else a clock of our own over still pictures.
  const video = $("video"), screen = $("screen"), still = $("still"), boxes = $("boxes");
  const spare = { on: false, at: 0, since: null };
  const now = () => {
    if (!spare.on) return video.currentTime;
    const ran = spare.since == null ? 0 : (performance.now() - spare.since) / 1000;
    return Math.min(spare.at + ran, data.duration);
  };
  const playing = () => (spare.on ? spare.since != null : !video.paused && !video.ended);

  function seek(time) {
    const t = clamp(time, 0, Math.max(data.duration, 0));
    if (spare.on) {
      spare.at = t;
      if (spare.since != null) spare.since = performance.now();
    } else {
      video.currentTime = t;
    }
    reveal(t);
    refresh(t);
  }

  function toggle() {
    if (!spare.on) {
      if (playing()) video.pause();
      else video.play().catch(() => {});
      return;
    }
    const t = now();
    const resume = spare.since == null;
    spare.at = resume && t >= data.duration ? 0 : t;
    spare.since = resume ? performance.now() : null;
    tick();
  }

  function readable(address) {
    try { return decodeURIComponent(address); } catch { return address; }
  }

  function note(text) {
    $("note").textContent = text;
    $("note").hidden = false;
  }

  function unplayable() {
    if (spare.on) return;
    spare.at = video.currentTime || 0;
    spare.on = true;
    video.hidden = true;
    still.hidden = data.pictures.length === 0;
    const codec = data.video.codec ? ` (codec ${data.video.codec})` : "";
    note(
      `This browser cannot play the file${codec}, or the file is not where the page expects it: ` +
        `${readable(data.media)}. Still pictures stand in for it; the lanes and the ` +
        "transcript work as usual. Another player, for example VLC, shows the video itself.");
    refresh(now());
  }
  function soundOnly() {
    if (video.videoWidth || !data.video.has_video) return;
    still.hidden = data.pictures.length === 0;
    note("This browser plays the sound but not the picture; still pictures stand in for it.");
  }

  function shape() {
    const { width, height, has_video: picture } = data.video;
    const silent = picture === false || !(width && height);
    const ratio = silent ? 5 : width / height;
    const room = screen.parentElement.clientWidth - 20;
    const tall = Math.min(room / ratio, Math.max(260, window.innerHeight * 0.52));
    screen.style.height = `${Math.round(tall)}px`;
    screen.style.width = `${Math.round(tall * ratio)}px`;
    screen.classList.toggle("sound", silent);
    $("silent").hidden = !silent;
    $("silent").textContent = silent ? "No picture: sound only" : "";
    const dense = window.devicePixelRatio || 1;
    boxes.width = Math.round(tall * ratio * dense);
    boxes.height = Math.round(tall * dense);
  }

  // --------------------------------------------------------------- look-ups
  function lastBefore(items, t, key) { // index of the last item with key <= t, or -1
    let low = 0, high = items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (key(items[middle]) <= t) low = middle + 1; else high = middle;
    }
    return low - 1;
  }
  function nearestPicture(t) {
    const i = lastBefore(data.pictures, t, (p) => p[0]);
    const [a, b] = [data.pictures[Math.max(i, 0)], data.pictures[i + 1]];
    return b && Math.abs(b[0] - t) < Math.abs(a[0] - t) ? b : a;
  }
  const runsOf = Map.groupBy ? Map.groupBy(data.runs, (r) => r.person) : new Map();
  if (!Map.groupBy) for (const r of data.runs) runsOf.set(r.person, [...(runsOf.get(r.person) ?? []), r]);
  function runAt(person, t) {
    const runs = runsOf.get(String(person)) ?? [];
    const run = runs[lastBefore(runs, t, (r) => r.start)];
    return run && t <= run.end ? run : null;
  }
  function boxAt(track, t) { // linear between two samples at most 2 s apart
    const s = track.samples;
    const i = lastBefore(s, t, (one) => one[0]);
    const [a, b] = [s[i], s[i + 1]];
    if (a && b && b[0] - a[0] <= 2) {
      const part = (t - a[0]) / (b[0] - a[0] || 1);
      return a.slice(1).map((x, k) => x + part * (b[k + 1] - x));
    }
    const near = a && t - a[0] <= 0.5 ? a : b && b[0] - t <= 0.5 ? b : null;
    return near && near.slice(1);
  }

  // ------------------------------------------------------------ face boxes
  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }
  function drawBoxes(t) {
    const brush = boxes.getContext("2d");
    brush.clearRect(0, 0, boxes.width, boxes.height);
    if (!$("show").checked || !data.video.width) return;
    const scale = boxes.width / data.video.width;
    const unit = window.devicePixelRatio || 1;
    brush.font = `600 ${12 * unit}px system-ui, sans-serif`;
    brush.textBaseline = "middle";
    for (const track of data.tracks) {
      if (t < track.start - 0.05 || t > track.end + 0.05) continue;
      const box = boxAt(track, t);
      if (!box) continue;
      const run = runAt(track.person, t);
      const label = run && known(run.label) ? run.label : null;
      const sure = label != null && (run.confidence ?? 0) >= data.unsure;
      const [x, y, w, h] = box.map((v) => v * scale);
      brush.setLineDash(sure ? [] : [6 * unit, 4 * unit]);
      for (const [width, ink] of [[4, "rgb(0 0 0 / 55%)"], [2, label ? colour(label) : "#ffffff"]]) {
        brush.lineWidth = width * unit;
        brush.strokeStyle = ink;
        brush.strokeRect(x, y, w, h);
      }
      const name = String(track.person).slice(0, 24);
      const text = `${name} · ${label ? label + (sure ? "" : "?") : "unknown"}`;
      const wide = brush.measureText(text).width + 10 * unit, tall = 18 * unit;
      const left = clamp(x, 0, Math.max(boxes.width - wide, 0));
      const top = y >= tall + 2 ? y - tall - 2 * unit : Math.min(y + h + 2 * unit, boxes.height - tall);
      brush.fillStyle = "rgb(0 0 0 / 70%)";
      brush.fillRect(left, top, wide, tall);
      brush.fillStyle = "#ffffff";
      brush.fillText(text, left + 5 * unit, top + tall / 2 + unit * 0.5);
    }
  }

  // ------------------------------------------------------------- transcript
  const rows = data.segments.map((segment, i) => segmentRow(segment, i));
  const wordNodes = new Map();

  function segmentRow(segment, i) {
    const row = el("li");
    row.dataset.segment = i;
    const stamp = el("button", "", clock(segment.start));
    stamp.type = "button";
    const who = segment.speaker ?? segment.person ?? "unknown speaker";
    const both = segment.speaker != null && segment.person != null ? ` · ${segment.person}` : "";
    const { dominant, confidence } = segment.emotion ?? {};
    const unsure = !known(dominant) || (confidence ?? 0) < data.unsure;
    const swatch = el("span", `swatch ${known(dominant) ? dominant : "unknown"}`);
    if (known(dominant) && unsure) swatch.classList.add("unsure");
    const feel = el("span", unsure ? "mood faint" : "mood", null, swatch, mood(dominant, confidence));
    const name = el("bdi", "who", who + both);
    const meta = el("div", "meta", null, stamp, name, feel);
    if (segment.on_screen === false) meta.append(el("span", "", "off screen"));
    const flags = [...(segment.flags ?? [])];
    if (segment.conflict && !flags.some((f) => /conflict|incongruence/.test(f))) flags.push("conflict");
    for (const flag of flags) {
      meta.append(el("bdi", /conflict|incongruence/.test(flag) ? "badge alert" : "badge", words(flag)));
    }
    for (const one of segment.behavioral_notes ?? []) meta.append(noteBadge(one));
    row.append(meta, spoken(segment));
    return row;
  }

  function noteBadge(one) {
    const badge = el("bdi", "badge note-badge", words(one.type));
    const time = one.timestamp ?? one.start;
    const more = Object.entries(one).filter(([key, value]) => key !== "type" && value != null)
      .map(([key, value]) => `${words(key)}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
    badge.title = more.join("\n");
    if (time != null) badge.dataset.at = time;
    return badge;
  }

  function spoken(segment) {
    const text = el("p");
    text.dir = "auto";
    const [from, to] = segment.words;
    for (let w = from; w < to; w++) {
      const [, , word, probability] = data.words[w];
      const node = el("span", probability != null && probability >= 0.6 ? "word" : "word doubt", word);
      node.dataset.word = w;
      if (probability == null || probability < 0.6) {
        node.title = probability == null ? "recognised, sureness unknown" : `recognised, ${percent(probability)}`;
      }
      text.append(node, " ");
    }
    if (from === to && segment.transcript) text.textContent = segment.transcript;
    if (from === to && !segment.transcript) text.append(el("span", "empty", "no words recognised"));
    return text;
  }

  function fillTranscript() {
    const list = $("segments");
    list.append(...rows);
    if (!rows.length) list.append(el("li", "empty", "Nobody was heard speaking."));
    for (const node of list.querySelectorAll(".word")) wordNodes.set(Number(node.dataset.word), node);
    list.addEventListener("click", (event) => {
      const word = event.target.closest(".word"), row = event.target.closest("li[data-segment]");
      if (String(getSelection())) return; // the reader is copying text
      const badge = event.target.closest("[data-at]");
      if (badge) seek(Number(badge.dataset.at));
      else if (word) seek(data.words[word.dataset.word][0]);
      else if (row) seek(data.segments[row.dataset.segment].start);
    });
    $("find").addEventListener("input", () => {
      const wanted = $("find").value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  }

  let marked = { row: null, word: null };
  function highlight(t) {
    let current = -1;
    for (let i = 0; i < data.segments.length && data.segments[i].start <= t + 1e-3; i++) {
      if (t < data.segments[i].end) current = i;
    }
    const row = rows[current] ?? null;
    let word = null;
    if (row) {
      const [from, to] = data.segments[current].words;
      for (let w = from; w < to; w++) {
        if (data.words[w][0] <= t + 1e-3 && t < data.words[w][1]) word = wordNodes.get(w);
      }
    }
    if (word !== marked.word) {
      marked.word?.classList.remove("now");
      word?.classList.add("now");
    }
    if (row !== marked.row) {
      marked.row?.classList.remove("now");
      marked.row?.removeAttribute("aria-current");
      row?.classList.add("now");
      row?.setAttribute("aria-current", "true");
      if (row && !$("segments").matches(":hover")) {
        scrollTo(row);
        requestAnimationFrame(() => scrollTo(row)); // heights of far rows are estimates until seen
      }
    }
    marked = { row, word };
  }
  function scrollTo(row) {
    const list = $("segments");
    const above = row.offsetTop - list.scrollTop, below = above + row.offsetHeight - list.clientHeight;
    if (above < 8 || below > -8) list.scrollTop = row.offsetTop - list.clientHeight / 3;
  }

  // ------------------------------------------------------------------- lanes
  await Bokeh.embed.embed_item(data.chart, "chart");
  const model = (name) => Bokeh.documents[0].get_model_by_name(name);
  const view = model("view"), plot = model("rows"), whole = model("whole");
  const table = model("rows cells").data;
  const cells = Object.fromEntries(table instanceof Map ? table : Object.entries(table));
  const end_ms = Math.max(data.duration, 0.1) * 1000;
  const width = () => $("chart").clientWidth;
  const toPx = (t) => ((t * 1000 - view.start) / (view.end - view.start)) * width();

  function show(start, stop) {
    const length = clamp(stop - start, Math.min(500, end_ms), end_ms);
    const from = clamp(start, 0, end_ms - length);
    view.setv({ start: from, end: from + length });
  }
  function zoom(factor) {
    const t = now() * 1000, length = (view.end - view.start) * factor;
    const inside = t >= view.start && t <= view.end;
    const centre = inside ? t : (view.start + view.end) / 2;
    const part = inside ? (t - view.start) / (view.end - view.start) : 0.5;
    show(centre - part * length, centre + (1 - part) * length);
  }
  function reveal(t) { // turn the page when the playhead leaves it
    const length = view.end - view.start;
    if (t * 1000 < view.start || t * 1000 > view.end) show(t * 1000 - 0.1 * length, t * 1000 + 0.9 * length);
  }

  function nameRows() {
    for (const row of data.rows) {
      const name = el("div"), stripe = el("div");
      for (const node of [name, stripe]) {
        node.style.top = `${row.top}px`;
        node.style.height = `${row.height}px`;
      }
      if (row.person != null) name.append(portrait(row.person));
      const text = el("span", "", null, el("bdi", "", row.name));
      const hint = { speaker: "speech, emotion", person: "face", arousal: "voice, 0 to 1",
        polarity: "words, − to +" }[row.kind];
      if (hint) text.append(el("small", "", hint));
      name.title = row.name;
      name.append(text);
      $("names").append(name);
      $("stripes").append(stripe);
    }
    $("names").style.height = `${data.height}px`;
  }

  function portrait(name) { // cut from the picture nearest to where the face is shown best
    const canvas = el("canvas");
    canvas.width = canvas.height = 56;
    canvas.hidden = true;
    const person = data.people.find((one) => String(one.person) === name);
    const picture = person?.thumbnail_time != null && data.pictures.length ? nearestPicture(person.thumbnail_time) : null;
    if (!picture || Math.abs(picture[0] - person.thumbnail_time) > 0.3 || !person.box) return canvas;
    const image = new Image();
    image.onload = () => {
      canvas.hidden = false;
      const scale = image.naturalWidth / data.video.width;
      const [x, y, w, h] = person.box.map((v) => v * scale);
      const side = Math.max(w, h) * 1.25;
      canvas.getContext("2d").drawImage(
        image, x + (w - side) / 2, y + (h - side) / 2, side, side, 0, 0, 56, 56);
    };
    image.src = picture[1];
    return canvas;
  }

  function drawFilm() {
    const ratio = data.video.width && data.video.height ? data.video.width / data.video.height : 16 / 9;
    const wide = clamp(54 * ratio, 30, 130), length = view.end - view.start;
    const film = [];
    let taken = -Infinity;
    for (const [time, uri] of data.pictures) {
      const left = toPx(time);
      if (left < -wide || left > width() || left < taken) continue;
      const image = el("img");
      image.src = uri;
      image.alt = "";
      image.style.cssText = `left:${left}px;width:${wide}px`;
      film.push(image);
      taken = left + wide + 2;
    }
    $("film").replaceChildren(...film);
  }

  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function ink(index, alpha, ground) { // black or white, whichever reads better on the cell
    pen.clearRect(0, 0, 1, 1);
    pen.globalAlpha = 1;
    pen.fillStyle = ground;
    pen.fillRect(0, 0, 1, 1);
    pen.globalAlpha = alpha;
    pen.fillStyle = colour(data.colours[index]);
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b] = pen.getImageData(0, 0, 1, 1).data;
    return 0.299 * r + 0.587 * g + 0.114 * b > 135 ? "#111417" : "#ffffff";
  }
  const caption = {
    word: (i) => data.words[i][2],
    fused: (i) => data.segments[i].emotion?.dominant ?? "unknown",
    face: (i) => data.runs[i].label ?? "unknown",
    flag: (i) => words(data.flags[i].type),
    action: (i) => data.actions[i].labels[0]?.label ?? "unknown",
    remark: (i) => data.remarks[i].emotion ?? words(data.remarks[i].kind),
  };
  function drawCaptions() { // only what fits into its cell
    const out = { x: [], y: [], text: [], colour: [], ground: [] };
    const scale = width() / (view.end - view.start), ground = colour("surface");
    pen.font = "11px system-ui, sans-serif";
    for (let i = 0; i < cells.left.length; i++) {
      const room = (cells.right[i] - cells.left[i]) * scale;
      const kind = data.kinds[cells.kind[i]];
      if (room < 8 || !caption[kind] || cells.right[i] < view.start || cells.left[i] > view.end) continue;
      const text = String(caption[kind](cells.item[i])).slice(0, 60);
      const x = Math.max(cells.left[i], view.start);
      const long = pen.measureText(text).width + (kind === "word" ? 1 : 6);
      if (long > (cells.right[i] - x) * scale) continue;
      const hatched = cells.hatch[i] > 0;
      out.x.push(x + (kind === "word" ? 1 : 3) / scale);
      out.y.push((cells.top[i] + cells.bottom[i]) / 2 + 0.5);
      out.text.push(text);
      out.colour.push(hatched ? colour("text") : ink(cells.colour[i], cells.alpha[i], ground));
      out.ground.push(hatched ? ground : "transparent");
    }
    model("labels").data = out;
  }

  function paint() { // Bokeh draws on a canvas: hand it the colours of the style sheet
    model("colours").palette = data.colours.map(colour);
    for (const axis of [model("axis")].flat()) {
      axis.major_label_text_color = colour("muted");
      axis.axis_line_color = axis.major_tick_line_color = colour("line");
      axis.minor_tick_line_color = null;
    }
    for (const grid of [model("grid")].flat()) grid.grid_line_color = colour("line");
    for (const name of ["rows hatches", "whole hatches"]) model(name).glyph.hatch_color = { value: colour("text") };
    const box = model("range box");
    box.fill_color = colour("accent");
    box.fill_alpha = 0.16;
    box.line_color = colour("accent");
    drawCaptions();
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawFilm();
      drawCaptions();
      playhead(now());
    });
  }

  function playhead(t) {
    const x = toPx(t);
    $("head").hidden = x < -1 || x > width() + 1;
    $("head").style.height = `${data.height}px`;
    $("head").style.transform = `translateX(${x}px)`;
    $("head2").style.cssText =
      `top:${$("chart").clientHeight - 32}px;height:32px;` +
      `transform:translateX(${(t * 1000 / end_ms) * width()}px)`;
  }

  // ---------------------------------------------------------------- tooltips
  const scores = (best) => (best ?? [])
    .map(([label, p]) => `${label} ${Math.round(100 * p)}%`).join(", ");
  const short = (text) => (text.length > 160 ? text.slice(0, 160) + "…" : text);
  const number = (x) => (x == null ? "unknown" : x.toFixed(2));
  const voice = (p) => p && [[p.pitch_hz, "Hz pitch", 0], [p.speech_rate_hz, "words/s", 1],
    [p.energy_db, "dB", 0]].filter(([x]) => x != null)
    .map(([x, unit, digits]) => `${x.toFixed(digits)} ${unit}`).join(" · ");
  const describe = {
    shot: (i) => [`Shot ${i + 1}`, span(data.shots[i])],
    speech: (i) => {
      const s = data.segments[i];
      const where = s.on_screen == null ? "on screen: unknown" : s.on_screen ? "on screen" : "off screen";
      return [s.speaker ?? "unknown speaker", `${span(s)} · ${where}`, s.person && `as ${s.person}`,
        s.transcript && short(s.transcript), voice(s.prosody)];
    },
    fused: (i) => {
      const s = data.segments[i], e = s.emotion ?? {}, by = e.by_channel ?? {};
      return [`All channels: ${mood(e.dominant, e.confidence)}`, span(s), scores(e.scores),
        by.face ? `face: ${mood(by.face.dominant, by.face.confidence)}` +
          (by.face.window ? ` (${words(by.face.window)} speech)` : "") : "face: nothing",
        by.voice ? `voice: arousal ${number(by.voice.arousal)}` : "voice: nothing",
        by.text ? `text: polarity ${number(by.text.polarity)}` : "text: nothing",
        fine("face", s.fine_emotions?.face), fine("voice", s.fine_emotions?.voice),
        s.conflict ? "the channels contradict each other" : null,
        s.listener ? `listener ${s.listener.person}: ${mood(s.listener.emotion, s.listener.confidence)}` : null];
    },
    word: (i) => [data.words[i][2], clock(data.words[i][0], 1), `recognised, ${percent(data.words[i][3])}`],
    seen: (i) => [`${data.tracks[i].person} is seen`, span(data.tracks[i])],
    face: (i) => {
      const r = data.runs[i];
      return [`${r.person}: ${mood(r.label, r.confidence)}`, span(r),
        r.valence == null ? null : `valence ${number(r.valence)} (−1 to 1)`];
    },
    arousal: (i) => {
      const a = data.arousal[i];
      return [`Arousal ${number(a.arousal)} (0 calm, 1 agitated)`, span(a), a.speaker];
    },
    polarity: (i) => {
      const s = data.segments[i];
      return [`Text polarity ${number(s.emotion.by_channel.text.polarity)}`, span(s),
        s.transcript && short(s.transcript)];
    },
    flag: (i) => {
      const f = data.flags[i];
      const detail = f.detail != null && typeof f.detail === "object" ? JSON.stringify(f.detail) : f.detail;
      return [words(f.type), `${span(f)} · ${percent(f.confidence)}`, detail == null ? null : short(String(detail))];
    },
    micro: (i) => {
      const m = data.micro[i];
      return [`Brief movement: ${m.region}`, `${[m.start, m.apex, m.end].map((t) => clock(t, 2)).join(" – ")} (apex in the middle)`, m.person,
        "a candidate: what it means is not known"];
    },
    action: (i) => {
      const a = data.actions[i];
      return ["Action", span(a), ...a.labels.map((one) => `${one.label} ${percent(one.score)}`)];
    },
    remark: (i) => {
      const r = data.remarks[i];
      return [`${words(r.kind)}: ${mood(r.emotion, r.confidence)}`, span(r), r.model, short(r.summary ?? "")];
    },
  };
  function fine(name, found) { // scores of the heads' own scale, no probabilities
    return found?.length ? `${name}, fine-grained: ` +
      found.map((one) => `${words(one.label)} ${number(one.score)}`).join(", ") : null;
  }

  function cellAt(ms, y) { // the topmost cell, with 3 px of patience for the thinnest
    const slack = (3 * (view.end - view.start)) / width();
    for (const patience of [0, slack]) {
      for (let i = cells.left.length - 1; i >= 0; i--) {
        if (cells.left[i] - patience <= ms && ms < cells.right[i] + patience &&
            cells.top[i] - 1 <= y && y <= cells.bottom[i] + 1) return i;
      }
    }
    return -1;
  }
  function hover(event) {
    const tip = $("tip"), found = cellAt(event.x, event.y);
    tip.hidden = found < 0;
    if (found < 0) return;
    const [title, ...lines] = describe[data.kinds[cells.kind[found]]](cells.item[found]);
    tip.replaceChildren(el("b", "", title), ...lines.filter(Boolean).map((line) => el("div", "", line)));
    const frame = $("chart").getBoundingClientRect();
    const x = frame.left + event.sx, y = frame.top + event.sy;
    tip.style.left = `${clamp(x + 14, 4, window.innerWidth - tip.offsetWidth - 8)}px`;
    const below = y + 18 + tip.offsetHeight < window.innerHeight;
    tip.style.top = `${below ? y + 18 : Math.max(y - tip.offsetHeight - 12, 4)}px`;
  }

  // ------------------------------------------------------------------- wiring
  function refresh(t) {
    playhead(t);
    highlight(t);
    const hidden = still.hidden ? null : nearestPicture(t);
    if (hidden && still.src !== hidden[1]) still.src = hidden[1];
    drawBoxes(hidden ? hidden[0] : t);
    $("time").textContent = `${clock(t, 1)} / ${clock(data.duration, 1)}`;
    $("play").textContent = playing() ? "❚❚" : "▶";
  }
  let ticking = false;
  function tick() {
    if (ticking) return;
    ticking = true;
    const step = () => {
      const t = now();
      reveal(t);
      refresh(t);
      if (spare.on && t >= data.duration) [spare.at, spare.since] = [t, null];
      ticking = playing();
      if (ticking) requestAnimationFrame(step);
      else refresh(now());
    };
    requestAnimationFrame(step);
  }

  const keys = {
    " ": () => toggle(),
    ArrowLeft: (e) => seek(now() - (e.shiftKey ? 5 : 1)),
    ArrowRight: (e) => seek(now() + (e.shiftKey ? 5 : 1)),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => show(0, end_ms),
  };
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest?.("input, button, a, select, textarea");
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    if (busy && (event.key === " " || busy.type === "search")) return;
    event.preventDefault();
    event.stopPropagation();
    act(event);
  }, true);

  fillTranscript();
  nameRows();
  shape();
  plot.on_event("tap", (event) => seek(event.x / 1000));
  plot.on_event("mousemove", hover);
  plot.on_event("mouseleave", () => { $("tip").hidden = true; });
  for (const side of ["start", "end"]) view.properties[side].change.connect(redraw);
  for (const name of ["play", "playing"]) video.addEventListener(name, tick);
  for (const name of ["pause", "ended", "seeked", "timeupdate", "loadedmetadata"]) {
    video.addEventListener(name, () => refresh(now()));
  }
  $("play").addEventListener("click", toggle);
  $("show").addEventListener("change", () => refresh(now()));
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("fit").addEventListener("click", () => show(0, end_ms));
  for (const button of document.querySelectorAll("[data-seek]")) {
    button.addEventListener("click", () => seek(Number(button.dataset.seek)));
  }
  new ResizeObserver(() => { shape(); redraw(); refresh(now()); }).observe($("chart"));
  window.addEventListener("resize", shape);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); redraw(); });
  paint();
  redraw();
  refresh(now());
  video.addEventListener("error", unplayable);
  if (video.error || video.networkState === HTMLMediaElement.NETWORK_NO_SOURCE) unplayable();
  video.addEventListener("loadedmetadata", soundOnly);
  if (video.readyState > 0) soundOnly();
  document.documentElement.dataset.ready = "true";
})();
