// The shapes of regions: { width, height, cells } with a cell of 0 or 1 for each place, line by line, over the region's
// box. As text as tile_utils/masks.py says it. Pure functions.

import { NO_JOINS, round } from './geometry.mjs';

const MOST_CELLS = 256; // of a region's longer side, as on the server
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const VALUES = new Map([...DIGITS].map((letter, value) => [letter, value]));

export const blank = ({ width, height }) => ({ width, height, cells: new Uint8Array(width * height) });

function digits(length) {
    let text = '';
    for (; length >= 32; length >>= 5) text += DIGITS[(length & 31) + 32];
    return text + DIGITS[length];
}

export function encode({ width, height, cells }) {
    let [text, run, changes] = ['', 0, 0];
    for (let at = 0; at < cells.length; at++) {
        const change = cells[at] ^ (at < width ? 0 : cells[at - width]);
        if (change !== changes) {
            text += digits(run);
            [run, changes] = [0, change];
        }
        run += 1;
    }
    return `${width}x${height}:${text}${digits(run)}`;
}

/** The mask of a text; null where it is none. */
export function decode(text) {
    const [, columns, rows, runs] = /^(\d{1,4})x(\d{1,4}):([\w-]*)$/.exec(text) ?? [];
    if (!(columns > 0 && rows > 0)) return null;
    const mask = blank({ width: Number(columns), height: Number(rows) });
    const { width, cells } = mask;
    let [at, length, place, change] = [0, 0, 0, 0];
    for (const letter of runs) {
        const value = VALUES.get(letter);
        length += (value & 31) * 2 ** place;
        place += 5;
        if (value >= 32) continue;
        if (at + length > cells.length) return null;
        for (const end = at + length; at < end; at++) cells[at] = change ^ (at < width ? 0 : cells[at - width]);
        [length, place, change] = [0, 0, 1 - change];
    }
    return at === cells.length ? mask : null;
}

/** The mask with cells picked anew: of `size`, out of the part that begins at (left, top) with the size of `part`. */
function picked(mask, left, top, part, size) {
    const made = blank(size);
    for (let y = 0; y < size.height; y++) {
        const row = (top + Math.floor(((y + 0.5) * part.height) / size.height)) * mask.width + left;
        for (let x = 0; x < size.width; x++) {
            made.cells[y * size.width + x] = mask.cells[row + Math.floor(((x + 0.5) * part.width) / size.width)];
        }
    }
    return made;
}

/** What a region says whose shape is a mask over the whole picture: { x, y, w, h, mask }; null for an empty one.
 * A full box is a box: its mask is ''. */
export function fitted(mask) {
    const { width, height, cells } = mask;
    let [left, top, right, bottom] = [width, height, 0, 0];
    cells.forEach((cell, at) => {
        if (!cell) return;
        const [x, y] = [at % width, Math.floor(at / width)];
        [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
    });
    if (right <= left) return null;
    const part = { width: right - left, height: bottom - top };
    const scale = Math.min(1, MOST_CELLS / Math.max(part.width, part.height));
    const size = { width: Math.max(1, Math.round(part.width * scale)), height: Math.max(1, Math.round(part.height * scale)) };
    const cut = picked(mask, left, top, part, size);
    return {
        x: round(left / width), y: round(top / height), w: round(part.width / width), h: round(part.height / height),
        mask: cut.cells.every(Boolean) ? '' : encode(cut),
    };
}

/** A region's shape on the cells of the whole picture, `size`; without a mask its box. */
export function laid({ x, y, w, h, mask }, size, joins = NO_JOINS) {
    const shape = (mask && decode(mask)) || { width: 1, height: 1, cells: [1] };
    const along = (distance, joined) => (joined ? (distance + 1) % 1 : distance);
    const made = blank(size);
    for (let row = 0; row < size.height; row++) {
        const down = Math.floor((along((row + 0.5) / size.height - y, joins.y) / h) * shape.height);
        if (!(down >= 0 && down < shape.height)) continue;
        for (let column = 0; column < size.width; column++) {
            const across = Math.floor((along((column + 0.5) / size.width - x, joins.x) / w) * shape.width);
            if (across >= 0 && across < shape.width) made.cells[row * size.width + column] = shape.cells[down * shape.width + across];
        }
    }
    return made;
}

/** Where a picture's pixels (RGBA, as of a canvas) are white, and opaque: as the server sees it. */
export function ofPicture({ width, height, data }) {
    const mask = blank({ width, height });
    for (let at = 0; at < mask.cells.length; at++) {
        const [red, green, blue, alpha] = data.subarray(4 * at, 4 * at + 4);
        mask.cells[at] = Number(299 * red + 587 * green + 114 * blue >= 127500 && alpha >= 128);
    }
    return mask;
}
