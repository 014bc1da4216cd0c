// What would be drawn now, as the page says, told to the server for the line under the size sliders.

import * as page from './gradio_bridge.mjs';

const HOST_TAB = { t2i: 'txt2img', i2i: 'img2img' };
const SIZES = { tile_width: 'latent-tile-width', tile_height: 'latent-tile-height', overlap: 'latent-tile-overlap', tile_batch_size: 'latent-tile-batch-size' };

/** The passes of a txt2img: the picture, and the hires pass when it is switched on. */
export function txt2imgPasses({ width, height }, steps, hires) {
    const first = { name: 'Picture', width, height, steps, denoise: 1 };
    if (!hires) return [first];
    const { resizeX, resizeY } = hires;
    // As the host: a side of 0 follows the other one; both given fill the frame, which is then cut.
    const target = resizeX || resizeY
        ? { width: resizeX || (width * resizeY) / height, height: resizeY || (height * resizeX) / width }
        : { width: width * hires.scale, height: height * hires.scale };
    const pass = { name: 'Hires pass', width: Math.floor(target.width), height: Math.floor(target.height) };
    return [first, { ...pass, steps: drawn(hires.steps || steps, hires.denoise), denoise: hires.denoise }];
}

/** The steps that are really drawn when a picture starts from another one. */
export const drawn = (steps, denoise) => Math.max(1, Math.floor(steps * denoise));

function hires() {
    const isOn = page.find('#txt2img_hr-checkbox input, #txt2img_hr input[type=checkbox]')?.checked;
    return isOn && {
        scale: page.number('txt2img_hr_scale') || 1,
        resizeX: page.number('txt2img_hr_resize_x') || 0,
        resizeY: page.number('txt2img_hr_resize_y') || 0,
        steps: page.number('txt2img_hires_steps') || 0,
        denoise: page.number('txt2img_denoising_strength'),
    };
}

function passes(tab) {
    const steps = page.number(`${HOST_TAB[tab]}_steps`) || 20;
    if (tab === 't2i') return txt2imgPasses(page.pageSize(tab), steps, hires());
    const denoise = page.number('img2img_denoising_strength');
    return [{ name: 'Picture', ...page.canvasSize('i2i'), steps: drawn(steps, denoise), denoise }];
}

/** The strength of a composition that comes first, or null. */
function composition(tab) {
    const isOn = tab === 't2i' && page.find('#MD-t2i-composition-first input')?.checked;
    return isOn ? page.number('MD-t2i-composition-strength') : null;
}

function plan(tab) {
    const sizes = {
        method: page.find(`#MD-${tab}-method input`)?.value,
        shift_tiles: Boolean(page.find(`#MD-${tab}-shift-tiles input`)?.checked),
        seamless: page.find(`#MD-${tab}-seamless input`)?.value,
    };
    for (const [name, id] of Object.entries(SIZES)) sizes[name] = page.number(`MD-${tab}-${id}`);
    const count = (what) => page.number(`${HOST_TAB[tab]}_batch_${what}`) || 1;
    return JSON.stringify({ passes: passes(tab), composition: composition(tab), sizes, pictures: count('count') * count('size') });
}

export class PagePlan {
    constructor(tab) {
        this.tab = tab;
        this.seen = null;
        this.sent = null;
    }

    /** Called again and again: sends what would be drawn once it stops changing. */
    follow() {
        if (!page.find(`#MD-${this.tab}-plan-line`)?.offsetParent) return;
        const now = plan(this.tab);
        if (now === this.seen && now !== this.sent) {
            this.sent = now;
            page.send(`MD-${this.tab}-plan`, now);
        }
        this.seen = now;
    }
}
