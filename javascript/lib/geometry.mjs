// Boxes in fractions of the picture: { x, y, w, h }, 0 ... 1. Pure functions.

const DIGITS = 4; // the number fields' step

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export const round = (value) => Number(value.toFixed(DIGITS));

/** Which opposite edges of the picture are joined: left and right (x), top and bottom (y). */
export const NO_JOINS = { x: false, y: false };

/** A place on an axis whose ends are joined, 0 ... 1 without the end. */
const around = (place) => round(place - Math.floor(place)) % 1;

/** (start, length) of what lies between two places of an axis: cut at its ends, or once around at most. */
function between(a, b, joined) {
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    if (joined) return [around(low), round(Math.min(1, high - low))];
    return [round(clamp(low, 0, 1)), round(clamp(high, 0, 1) - clamp(low, 0, 1))];
}

/** A box from two opposite corners, cut at the picture's edges, but going on where these are joined. */
export function fromCorners(x0, y0, x1, y1, joins = NO_JOINS) {
    const [[x, w], [y, h]] = [between(x0, x1, joins.x), between(y0, y1, joins.y)];
    return { x, y, w, h };
}

/** The box moved by (dx, dy); it stays inside with its size, or goes around. */
export function move(box, dx, dy, joins = NO_JOINS) {
    const along = (place, size, joined) => (joined ? around(place) : round(clamp(place, 0, Math.max(0, 1 - size))));
    return { ...box, x: along(box.x + dx, box.w, joins.x), y: along(box.y + dy, box.h, joins.y) };
}

/**
 * The box with some of its edges moved by (dx, dy). `handle` names them: n, e, s, w or two of them.
 * An edge that is drawn across its opposite flips the box.
 */
export function resize(box, handle, dx, dy, joins = NO_JOINS) {
    let [left, top, right, bottom] = [box.x, box.y, box.x + box.w, box.y + box.h];
    if (handle.includes('w')) left += dx;
    if (handle.includes('e')) right += dx;
    if (handle.includes('n')) top += dy;
    if (handle.includes('s')) bottom += dy;
    return fromCorners(left, top, right, bottom, joins);
}

/** A box that numbers typed by hand may have pushed over the edge, cut as the server cuts it; null if nothing is left. */
export function visible(box, joins = NO_JOINS) {
    if (![box.x, box.y, box.w, box.h].every(Number.isFinite) || box.w <= 0 || box.h <= 0) return null;
    const cut = fromCorners(box.x, box.y, box.x + box.w, box.y + box.h, joins);
    return cut.w > 0 && cut.h > 0 ? cut : null;
}

/** Where else a visible box is seen on a picture whose edges are joined: { x, y } of each copy that goes on beyond an edge. */
export function copies({ x, y, w, h }) {
    const [columns, rows] = [x + w > 1 ? [x, x - 1] : [x], y + h > 1 ? [y, y - 1] : [y]];
    return columns.flatMap((left) => rows.map((top) => ({ x: round(left), y: round(top) }))).slice(1);
}

/** Where the pieces of a picture are drawn so that its joined edges meet in the middle: [[left, top]] in pixels. */
export function rolled({ width, height }, joins) {
    const along = (side, joined) => (joined ? [Math.floor(side / 2), Math.floor(side / 2) - side] : [0]);
    return along(width, joins.x).flatMap((left) => along(height, joins.y).map((top) => [left, top]));
}

/** Where a picture lies inside of an element that shows it whole (letterboxed). In the element's pixels. */
export function letterbox(natural, element) {
    const scale = Math.min(element.width / natural.width, element.height / natural.height);
    const [width, height] = [natural.width * scale, natural.height * scale];
    return { left: (element.width - width) / 2, top: (element.height - height) / 2, width, height };
}

/** The size with its longest side cut to `most`, of the same shape as far as whole pixels allow. */
export function shrunk({ width, height }, most) {
    const scale = Math.min(1, most / Math.max(width, height));
    const [w, h] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
    return { width: w, height: h };
}

/** The longest side in pixels of what the box covers of a canvas. */
export function longestSide(box, canvas) {
    return Math.max(box.w * canvas.width, box.h * canvas.height);
}
