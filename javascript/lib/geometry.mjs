// Boxes in fractions of the picture: { x, y, w, h }, 0 ... 1. Pure functions.

const DIGITS = 4; // the number fields' step

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const round = (value) => Number(value.toFixed(DIGITS));

/** A box from two opposite corners, cut at the picture's edges. */
export function fromCorners(x0, y0, x1, y1) {
    const [left, right] = [clamp(Math.min(x0, x1), 0, 1), clamp(Math.max(x0, x1), 0, 1)];
    const [top, bottom] = [clamp(Math.min(y0, y1), 0, 1), clamp(Math.max(y0, y1), 0, 1)];
    return { x: round(left), y: round(top), w: round(right - left), h: round(bottom - top) };
}

/** The box moved by (dx, dy); it stays inside with its size. */
export function move(box, dx, dy) {
    return {
        ...box,
        x: round(clamp(box.x + dx, 0, Math.max(0, 1 - box.w))),
        y: round(clamp(box.y + dy, 0, Math.max(0, 1 - box.h))),
    };
}

/**
 * The box with some of its edges moved by (dx, dy). `handle` names them: n, e, s, w or two of them.
 * An edge that is drawn across its opposite flips the box.
 */
export function resize(box, handle, dx, dy) {
    let [left, top, right, bottom] = [box.x, box.y, box.x + box.w, box.y + box.h];
    if (handle.includes('w')) left += dx;
    if (handle.includes('e')) right += dx;
    if (handle.includes('n')) top += dy;
    if (handle.includes('s')) bottom += dy;
    return fromCorners(left, top, right, bottom);
}

/** A box that numbers typed by hand may have pushed over the edge, cut as the server cuts it; null if nothing is left. */
export function visible(box) {
    if (![box.x, box.y, box.w, box.h].every(Number.isFinite) || box.w <= 0 || box.h <= 0) return null;
    const cut = fromCorners(box.x, box.y, box.x + box.w, box.y + box.h);
    return cut.w > 0 && cut.h > 0 ? cut : null;
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
