// Painting the shape of a region: a picture of the size of the canvas in latent pixels, thresholded when a stroke ends.

import { shrunk } from './geometry.mjs';
import { blank, laid } from './masks.mjs';

const CELL = 8; // pixels of the canvas: one of the latent
const FINEST = 512; // cells of the longer side
const LIGHTEST = 0.1; // of a pen that hardly touches

/** Cells of a canvas of this size in pixels. */
export const cellsOf = ({ width, height }) => shrunk({ width: width / CELL, height: height / CELL }, FINEST);

/** How wide a stroke is here, for a brush of `size` pixels: a pen's follows its pressure. */
export const widthOf = (size, { pointerType, pressure }) => size * (pointerType === 'pen' ? Math.max(LIGHTEST, pressure) : 1);

export class Stroke {
    /**
     * @param {HTMLCanvasElement} shown what is painted on, over the picture
     * @param {object|null} region what it paints on, or null for a new one
     * @param {object} picture `canvas`, its size in pixels, and `joins`, which of its edges are joined
     * `colour`: of the region; `erase`: paint takes away
     */
    constructor(shown, region, { canvas, joins }, colour, erase) {
        Object.assign(shown, cellsOf(canvas));
        this.shown = shown;
        this.scale = shown.width / canvas.width;
        this.last = null;
        this.pen = shown.getContext('2d', { willReadFrequently: true });
        if (region) paint(this.pen, laid(region, shown, joins), colour);
        Object.assign(this.pen, { lineCap: 'round', lineJoin: 'round', strokeStyle: colour });
        this.pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    }

    /** Go on to a place in fractions of the picture, `width` pixels wide. */
    to({ x, y }, width) {
        const next = [x * this.shown.width, y * this.shown.height];
        this.pen.lineWidth = Math.max(1, width * this.scale);
        this.pen.beginPath();
        this.pen.moveTo(...(this.last ?? next));
        this.pen.lineTo(...next);
        this.pen.stroke();
        this.last = next;
    }

    /** The mask over the whole picture that has been painted. */
    mask() {
        const { width, height } = this.shown;
        const mask = blank({ width, height });
        const { data } = this.pen.getImageData(0, 0, width, height);
        for (let at = 0; at < mask.cells.length; at++) mask.cells[at] = Number(data[4 * at + 3] >= 128);
        return mask;
    }
}

/** Fill the cells of a mask with a colour, on a canvas of its size. */
export function paint(pen, { width, height, cells }, colour) {
    pen.fillStyle = colour;
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
            if (!cells[y * width + x]) continue;
            const start = x;
            while (x < width && cells[y * width + x]) x += 1;
            pen.fillRect(start, y, x - start, 1);
        }
    }
}
