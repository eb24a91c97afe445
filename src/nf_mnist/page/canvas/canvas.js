// A canvas of small grey images: `props.value` is JSON with the bytes of levels and of hidden pixels in base64.
const { width, height } = props, BLUE = [86, 130, 210], MAX_BYTES = 2 ** 20;
let levels = new Uint8Array(width * height), hidden = new Uint8Array(width * height);
let tool = "pen", cursor = null, last = null;

const bytes = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));
const text = values => btoa(String.fromCharCode(...values));

function load() {
    if (!props.value) return;
    const sent = JSON.parse(props.value);
    [levels, hidden] = [bytes(sent.levels), bytes(sent.hidden)];
    show();
}

function send() {
    props.value = JSON.stringify({ levels: text(levels), hidden: text(hidden) });
    show();
}

function show() {
    const drawing = element.querySelector("canvas")?.getContext("2d");
    if (!drawing) return;
    const image = drawing.createImageData(width, height);
    levels.forEach((level, i) => image.data.set([...(hidden[i] ? BLUE : [level, level, level]), 255], 4 * i));
    if (cursor) image.data.set([217, 72, 15, 255], 4 * (cursor[1] * width + cursor[0]));
    drawing.putImageData(image, 0, 0);
    for (const button of element.querySelectorAll("[data-tool]"))
        button.setAttribute("aria-pressed", button.dataset.tool === tool);
}

// A stroke is two to three pixels wide with a soft edge, like those of MNIST; to rub out and to hide it is wider.
function paint(column, row) {
    const radius = tool === "pen" ? 1.9 : 2.5;
    for (let i = 0; i < levels.length; i++) {
        const distance = Math.hypot((i % width) - column, Math.floor(i / width) - row);
        if (distance >= radius) continue;
        if (tool === "pen") levels[i] = Math.max(levels[i], Math.round(255 * Math.min(1, radius - distance)));
        else if (tool === "rubber") levels[i] = 0;
        else hidden[i] = tool === "hide" ? 1 : 0;
    }
}

function stroke(event) {
    const box = element.querySelector("canvas").getBoundingClientRect();
    const to = [((event.clientX - box.left) / box.width) * width - 0.5, ((event.clientY - box.top) / box.height) * height - 0.5];
    const from = last ?? to, steps = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])));
    for (let k = 1; k <= steps; k++)
        paint(from[0] + ((to[0] - from[0]) * k) / steps, from[1] + ((to[1] - from[1]) * k) / steps);
    last = to;
    show();
}

element.addEventListener("pointerdown", event => {
    if (event.target.tagName !== "CANVAS") return;
    event.preventDefault();
    event.target.focus();
    cursor = null;
    stroke(event);
});
window.addEventListener("pointermove", event => last && stroke(event));
window.addEventListener("pointerup", () => {
    if (!last) return;
    last = null;
    send();
});

element.addEventListener("click", event => {
    const chosen = event.target.closest("[data-tool]")?.dataset.tool;
    if (!chosen) return;
    if (chosen === "clear") {
        levels.fill(0);
        hidden.fill(0);
        send();
    } else tool = chosen;
    show();
});

element.addEventListener("keydown", event => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] };
    if (event.target.tagName !== "CANVAS" || !(event.key in moves)) return;
    event.preventDefault();
    const [column, row] = cursor ?? [width >> 1, height >> 1], [right, down] = moves[event.key];
    cursor = [Math.min(Math.max(column + right, 0), width - 1), Math.min(Math.max(row + down, 0), height - 1)];
    if (event.key === " ") {
        paint(...cursor);
        send();
    }
    show();
});

element.addEventListener("change", async event => {
    const file = event.target.files?.[0];
    if (!file) return;
    const content = file.size > MAX_BYTES ? null : new Uint8Array(await file.arrayBuffer());
    const encoded = content && btoa(Array.from(content, byte => String.fromCharCode(byte)).join(""));
    trigger("upload", { content: encoded });
});

watch("value", load);
new MutationObserver(show).observe(element, { childList: true, subtree: true });
load();
show();
