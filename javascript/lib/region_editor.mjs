// Coloured boxes over a picture: draw, move, resize, nudge. Knows nothing of gradio.

import { fromCorners, longestSide, move, resize, visible } from './geometry.mjs';

const HANDLES = ['n', 'e', 's', 'w', 'ne', 'se', 'sw', 'nw'];
const NUDGE = 0.005;
const SMALLEST = 0.01; // a drag shorter than this is a click
const LARGE_SIDE = 1280; // pixels; more than this is slow and blurs what a model knows

const colour = (index) => `hsl(${(index * 137.5) % 360} 85% 50%)`;

export class RegionEditor {
    /**
     * @param {object} events
     *   change(index, box): a box was drawn, moved or resized; switchOn(index), switchOff(index).
     */
    constructor(events) {
        this.events = events;
        this.regions = []; // { enable, x, y, w, h, prompt }
        this.canvas = { width: 1, height: 1 };
        this.selected = null;
        this.drag = null;
        this.boxes = [];
        this.root = document.createElement('div');
        this.root.className = 'md-regions';
        this.root.tabIndex = 0;
        this.root.setAttribute('role', 'application');
        this.root.setAttribute('aria-label', 'Regions. Drag to draw one; arrow keys move the selected one.');
        this.root.addEventListener('pointerdown', (event) => this.begin(event));
        this.root.addEventListener('pointermove', (event) => this.follow(event));
        for (const name of ['pointerup', 'pointercancel']) this.root.addEventListener(name, () => this.end());
        this.root.addEventListener('keydown', (event) => this.key(event));
    }

    /** Lie over the picture. `place` in pixels of the element that holds the root. */
    layOver(place) {
        for (const side of ['left', 'top', 'width', 'height']) this.root.style[side] = `${place[side]}px`;
    }

    /** Show these regions; `canvas` is the size of the picture that will be drawn, in pixels. */
    show(regions, canvas) {
        this.regions = regions;
        this.canvas = canvas;
        regions.forEach((region, index) => this.showBox(region, index));
    }

    showBox(region, index) {
        const shown = region.enable ? visible(region) : null;
        const box = this.boxes[index] ?? (shown && this.makeBox(index));
        if (!box) return;
        box.hidden = !shown;
        if (!shown) return;
        for (const [side, value] of [['left', shown.x], ['top', shown.y], ['width', shown.w], ['height', shown.h]]) {
            box.style[side] = `${100 * value}%`;
        }
        const large = longestSide(shown, this.canvas) > LARGE_SIDE;
        const label = `${index + 1}${region.prompt ? ` ${region.prompt}` : ''}`;
        box.firstChild.textContent = large ? `⚠ ${label}` : label;
        box.title = large ? `Larger than ${LARGE_SIDE} pixels: slow, and more than most models know` : '';
        box.classList.toggle('md-selected', index === this.selected);
    }

    makeBox(index) {
        const box = document.createElement('div');
        box.className = 'md-region';
        box.dataset.index = index;
        box.style.setProperty('--md-colour', colour(index));
        const label = document.createElement('span');
        label.className = 'md-label';
        box.append(label);
        for (const handle of HANDLES) {
            const grip = document.createElement('i');
            grip.className = `md-grip md-${handle}`;
            grip.dataset.handle = handle;
            box.append(grip);
        }
        this.boxes[index] = box;
        this.root.append(box);
        return box;
    }

    select(index) {
        this.selected = index;
        this.show(this.regions, this.canvas);
    }

    /** A pointer's place as fractions of the picture. */
    at(event) {
        const bounds = this.root.getBoundingClientRect();
        return { x: (event.clientX - bounds.left) / bounds.width, y: (event.clientY - bounds.top) / bounds.height };
    }

    begin(event) {
        if (event.button !== 0) return;
        const box = event.target.closest('.md-region');
        const index = box ? Number(box.dataset.index) : this.regions.findIndex((region) => !region.enable);
        event.preventDefault(); // no picture is dragged, no text selected
        this.root.focus({ preventScroll: true });
        this.root.setPointerCapture(event.pointerId);
        if (index < 0) return;
        const { x, y, w, h } = this.regions[index];
        this.drag = { index, from: this.at(event), box: { x, y, w, h }, handle: event.target.dataset.handle, drawn: !box };
        if (box) this.select(index);
    }

    follow(event) {
        if (!this.drag) return;
        const { index, from, box, handle, drawn } = this.drag;
        const to = this.at(event);
        const [dx, dy] = [to.x - from.x, to.y - from.y];
        if (drawn) {
            const made = fromCorners(from.x, from.y, to.x, to.y);
            if (made.w < SMALLEST || made.h < SMALLEST) return;
            if (!this.regions[index].enable) this.events.switchOn(index);
            this.selected = index;
            this.set(index, made);
        } else {
            this.set(index, handle ? resize(box, handle, dx, dy) : move(visible(box) ?? box, dx, dy));
        }
    }

    end() {
        if (this.drag?.drawn && !this.regions[this.drag.index].enable) this.select(null); // a click beside the boxes
        this.drag = null;
    }

    key(event) {
        const index = this.selected;
        const step = event.shiftKey ? 10 * NUDGE : NUDGE;
        const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
        if (index === null || !this.regions[index]?.enable) return;
        if (event.key in moves) this.set(index, move(this.regions[index], ...moves[event.key]));
        else if (event.key === 'Delete') this.events.switchOff(index);
        else if (event.key === 'Escape') this.select(null);
        else return;
        event.preventDefault();
    }

    set(index, { x, y, w, h }) {
        Object.assign(this.regions[index], { enable: true, x, y, w, h });
        this.showBox(this.regions[index], index);
        this.events.change(index, { x, y, w, h });
    }
}
