// The last region layout of each tab, kept in the browser across reloads.

import * as page from './gradio_bridge.mjs';

const PATIENCE = 60; // looks at the page until a restored layout must have arrived

/** Nothing that anyone would miss: no region is on, none has a text. */
export function isBlank({ regions }) {
    return regions.every(({ enable, prompt, neg_prompt }) => !enable && !prompt && !neg_prompt);
}

/** A layout as it was kept, or null where it is none. */
export function parse(text) {
    try {
        const layout = JSON.parse(text);
        return Array.isArray(layout?.regions) && layout.regions.every((region) => region && typeof region === 'object') ? layout : null;
    } catch {
        return null;
    }
}

/**
 * Decides, from what the page shows each time, whether to restore, to keep or to forget.
 * `storage` is as localStorage; `restore(text)` sends a kept layout to the page.
 */
export class LayoutMemory {
    constructor(key, storage, restore) {
        this.key = key;
        this.storage = storage;
        this.restore = restore;
        this.kept = null; // as JSON; null until the first look
        this.seen = null;
        this.waiting = 0;
    }

    follow(layout) {
        const now = JSON.stringify(layout);
        if (this.seen === null) this.begin(layout, now);
        else if (this.waiting > 0 && now === this.kept) this.waiting -= 1;
        else {
            this.waiting = 0;
            if (now === this.seen && now !== this.kept) this.keep(layout, now);
        }
        this.seen = now;
    }

    /** The page has just been loaded. What it holds already, it holds for a reason: it is not touched then. */
    begin(layout, now) {
        this.kept = now;
        const before = parse(this.read());
        if (!before || isBlank(before) || !isBlank(layout)) return;
        this.waiting = PATIENCE;
        this.restore(JSON.stringify(before));
    }

    read() {
        try {
            return this.storage.getItem(this.key);
        } catch {
            return null; // a browser that keeps nothing
        }
    }

    keep(layout, now) {
        this.kept = now;
        try {
            if (isBlank(layout)) this.storage.removeItem(this.key);
            else this.storage.setItem(this.key, now);
        } catch {
            // full, or forbidden: the layout is then forgotten with the page
        }
    }
}

/** The memory of one tab's page. */
export class TabMemory {
    constructor(tab) {
        this.tab = tab;
        this.anyOn = false;
        this.memory = new LayoutMemory(`tiled-diffusion/regions/${tab}`, window.localStorage, (text) => page.send(`MD-${tab}-layout`, text));
    }

    follow() {
        const layout = page.readLayout(this.tab);
        if (!layout.regions.length) return; // the page is not there yet
        this.memory.follow(layout);
        const anyOn = layout.regions.some(({ enable }) => enable);
        // Pasted or restored boxes need a picture to lie on.
        if (anyOn && !this.anyOn && !page.hasReference(this.tab)) page.createReference(this.tab);
        this.anyOn = anyOn;
    }
}
