// Regions on the reference images of both tabs. One global, `tiledDiffusion`, for the buttons' handlers.

import { letterbox, shrunk } from './lib/geometry.mjs';
import * as page from './lib/gradio_bridge.mjs';
import { JoinButton } from './lib/join_button.mjs';
import { TabMemory } from './lib/layout_memory.mjs';
import { PagePlan } from './lib/page_plan.mjs';
import { ReferencePicture } from './lib/reference_picture.mjs';
import { RegionEditor } from './lib/region_editor.mjs';
import { RegionModel } from './lib/region_model.mjs';
import { ToolBar } from './lib/tool_bar.mjs';
import { WordTable } from './lib/tile_words.mjs';

const LOOK_AGAIN = 150; // ms; the server may set fields, which tells nobody
const BLANK = { fill: '#8b9099', line: '#a3a8b1', cells: 8, side: 512, most: 1024 };

class TabCanvas {
    constructor(tab) {
        this.tab = tab;
        this.opened = null; // the row that a selection opened
        this.plan = new PagePlan(tab);
        this.words = new WordTable(tab);
        this.join = new JoinButton(tab);
        this.memory = new TabMemory(tab);
        this.picture = new ReferencePicture(tab);
        this.model = new RegionModel((regions, changes) => page.writeRegions(tab, regions, changes));
        this.editor = new RegionEditor(this.model, {
            select: (index) => this.openRow(index),
            edit: (index) => {
                this.openRow(index);
                page.focusPrompt(tab, index);
            },
        });
        this.tools = new ToolBar(this.editor);
    }

    /** The selected region's fields are open; the row of the one before closes again. */
    openRow(index) {
        if (this.opened !== null && this.opened !== index) page.openRow(this.tab, this.opened, false);
        if (index !== null) page.openRow(this.tab, index, true);
        this.opened = index;
    }

    /** Put the boxes where the picture is now, as the fields say. */
    refresh() {
        const { root } = this.editor;
        this.picture.follow();
        const place = page.toolPlace(this.tab);
        if (place && !place.contains(this.tools.root)) place.append(this.tools.root);
        const shown = page.reference(this.tab);
        if (!shown) {
            this.editor.letGo();
            root.remove();
            this.words.refresh(null);
            return;
        }
        const { holder, image } = shown;
        if (root.parentElement !== holder) {
            this.editor.letGo();
            holder.style.position = 'relative';
            holder.append(root);
        }
        const [outer, inner] = [holder.getBoundingClientRect(), image.getBoundingClientRect()];
        const natural = { width: image.naturalWidth, height: image.naturalHeight };
        const seen = letterbox(natural, inner);
        const within = { ...seen, left: seen.left + inner.left - outer.left, top: seen.top + inner.top - outer.top };
        this.editor.layOver(within);
        this.words.refresh(holder, within);
        if (this.editor.drag) return; // the pointer leads
        this.model.follow(page.readRegions(this.tab));
        this.editor.colours = page.chosenColours();
        this.editor.joins = page.joins(this.tab);
        this.editor.show(page.canvasSize(this.tab));
        this.tools.follow();
        this.model.regions.forEach(({ enable, prompt }, index) => page.markRow(this.tab, index, this.editor.colour(index), enable ? prompt : ''));
    }
}

/** A grey picture of the page's shape with a grid, as a data URL. Boxes are fractions: it need not be of the page's size,
 * which browsers would not even hold at 16384 × 16384. */
function blankCanvas({ width, height }) {
    const size = shrunk({ width: width || BLANK.side, height: height || BLANK.side }, BLANK.most);
    const canvas = Object.assign(document.createElement('canvas'), size);
    const pen = canvas.getContext('2d');
    pen.fillStyle = BLANK.fill;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = BLANK.line;
    for (let i = 1; i < BLANK.cells; i++) {
        pen.fillRect(Math.round((canvas.width * i) / BLANK.cells), 0, 1, canvas.height);
        pen.fillRect(0, Math.round((canvas.height * i) / BLANK.cells), canvas.width, 1);
    }
    return canvas.toDataURL('image/png');
}

const tabs = [new TabCanvas('t2i'), new TabCanvas('i2i')];
const refresh = () => tabs.forEach((tab) => tab.refresh());

window.tiledDiffusion = {
    /** What the button over a reference image does. */
    createCanvas: (tab) => {
        const { picture } = tabs.find((other) => other.tab === tab);
        picture.show((tab === 'i2i' && page.img2imgInput()) || blankCanvas(page.pageSize(tab)));
    },
    /** What the list of layouts does; the list then shows none again. */
    layOut: (tab, layout) => {
        tabs.find((other) => other.tab === tab).editor.layOut(layout);
        return null;
    },
};

setInterval(() => {
    refresh();
    for (const { join, plan, memory } of tabs) {
        join.follow();
        memory.follow();
        plan.follow();
    }
}, LOOK_AGAIN);
for (const name of ['input', 'change', 'resize']) window.addEventListener(name, refresh, true);
