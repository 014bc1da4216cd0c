// Words for each tile: a table on the reference image, a cell for each tile, kept as JSON in one text field.

import * as page from './gradio_bridge.mjs';

const LATENT = 8; // image pixels each
const MOST = 400; // cells; more could not be read

/** Middles of the tiles along one side, as fractions; as the server's grid. All sizes latent. */
export function middles(side, tile, overlap) {
    const length = Math.min(tile, side);
    const shared = Math.max(0, Math.min(overlap, length - 4));
    const count = Math.max(1, Math.ceil((side - shared) / (length - shared)));
    const starts = Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.floor((i * (side - length)) / (count - 1))));
    return starts.map((start) => (start + length / 2) / side);
}

/** A cell for each tile: [{ x, y }], row by row; none where there is one tile, or no size yet. */
export function cells({ width, height }, { tileWidth, tileHeight, overlap }) {
    const [across, down] = [Math.floor(width / LATENT), Math.floor(height / LATENT)];
    if (!(across > 0 && down > 0 && tileWidth > 0 && tileHeight > 0)) return [];
    const [columns, rows] = [middles(across, tileWidth, overlap), middles(down, tileHeight, overlap)];
    if (columns.length * rows.length > MOST || columns.length * rows.length === 1) return [];
    return rows.flatMap((y) => columns.map((x) => ({ x, y })));
}

/** The places of a text; none where it is no list of them, as the name of an interrogator. */
export function places(text) {
    try {
        const found = JSON.parse(text);
        return Array.isArray(found) ? found.filter(({ x, y, prompt }) => x >= 0 && y >= 0 && typeof prompt === 'string') : [];
    } catch {
        return [];
    }
}

/** What each cell is told: the words of the place that is nearest to it. */
export function wordsOf(tiles, spots, { width, height }) {
    const apart = (tile, spot) => ((spot.x - tile.x) * width) ** 2 + ((spot.y - tile.y) * height) ** 2;
    return tiles.map((tile) => {
        if (!spots.length) return '';
        return spots.reduce((best, spot) => (apart(tile, spot) < apart(tile, best) ? spot : best)).prompt;
    });
}

/** The text for these words; nothing where no cell has any. */
export function written(tiles, words) {
    if (!words.some((text) => text.trim())) return '';
    const round = (value) => Math.round(value * 10000) / 10000;
    return JSON.stringify(tiles.map(({ x, y }, i) => ({ x: round(x), y: round(y), prompt: words[i] })));
}

/** The table of one tab; it is there while the field with the words is to be seen. */
export class WordTable {
    constructor(tab) {
        this.tab = tab;
        this.root = Object.assign(document.createElement('div'), { className: 'md-words' });
        this.shape = '';
        this.tiles = [];
        this.edited = null; // the cell with words that are not written yet
    }

    /** Lay the table over the picture, which lies at `place` in `holder`; without one it goes. */
    refresh(holder, place) {
        const field = page.find(`#MD-${this.tab}-tile-prompts`);
        const size = page.canvasSize(this.tab);
        const numbers = ['latent-tile-width', 'latent-tile-height', 'latent-tile-overlap'].map((id) => page.number(`MD-${this.tab}-${id}`));
        const tiles = holder && field?.offsetParent ? cells(size, { tileWidth: numbers[0], tileHeight: numbers[1], overlap: numbers[2] }) : [];
        if (!tiles.length) {
            this.root.remove();
            return;
        }
        if (this.root.parentElement !== holder) holder.append(this.root);
        for (const side of ['left', 'top', 'width', 'height']) this.root.style[side] = `${place[side]}px`;
        this.build(tiles);
        const text = field.querySelector('textarea, input').value;
        const words = wordsOf(tiles, places(text), size);
        [...this.root.children].forEach((input, i) => {
            if (input !== document.activeElement && input !== this.edited) input.value = words[i];
            input.placeholder = text && !places(text).length ? text : '';
        });
    }

    build(tiles) {
        const columns = new Set(tiles.map(({ x }) => x)).size;
        const shape = JSON.stringify(tiles);
        if (shape === this.shape) return;
        this.shape = shape;
        this.tiles = tiles;
        this.root.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
        this.root.replaceChildren(...tiles.map((_, i) => {
            const input = Object.assign(document.createElement('input'), { type: 'text', title: `Tile ${i + 1}` });
            input.addEventListener('input', () => (this.edited = input));
            input.addEventListener('change', () => this.write());
            return input;
        }));
    }

    write() {
        const words = [...this.root.children].map((input) => input.value);
        this.edited = null;
        page.send(`MD-${this.tab}-tile-prompts`, written(this.tiles, words));
    }
}
