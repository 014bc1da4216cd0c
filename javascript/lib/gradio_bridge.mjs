// Every element id of the page, and how gradio's fields are read and written.

const app = () => (typeof gradioApp === 'function' ? gradioApp() : document);
/** The first element of the page that a CSS selector matches. */
export const find = (selector) => app().querySelector(selector);

const NUMBERS = { x: 'x', y: 'y', w: 'w', h: 'h', feather_ratio: 'feather', seed: 'seed', strength: 'strength' };
const TEXTS = { prompt: 'prompt', neg_prompt: 'neg-prompt', blend_mode: 'blend-mode', mask: 'mask' };
const BY_SERVER = ['blend_mode'];
const INPUTS = ['img2img_image', 'img2img_sketch', 'img2maskimg', 'inpaint_sketch', 'img_inpaint_base'];
const HOST_TAB = { t2i: 'txt2img', i2i: 'img2img' };

const numberField = (id) => find(`#${id} input[type=number]`);
/** What the number field of a component says. */
export const number = (id) => Number(numberField(id)?.value);

// First the element, then what is in it: a list of selectors would make the browser look through the whole page.
const textField = (id) => find(`#${id}`)?.querySelector('textarea, input');

/** Write as a person would: the field's own listeners take it up. */
function type(field, value) {
    if (!field || field.value === String(value)) return;
    field.value = value;
    field.dispatchEvent(new Event('input', { bubbles: true }));
    field.dispatchEvent(new Event('change', { bubbles: true }));
}

const promptField = (tab, index) => textField(`MD-${tab}-${index + 1}-prompt`);
let sent = 0; // of layouts: the same one sent twice is no change
const row = (tab, index) => find(`#MD-${tab}-${index + 1}-region`);
/** Send a text to the server by a hidden text box. */
export function send(id, text) {
    type(textField(id), text);
}

const enableBox = (tab, index) => find(`#MD-bbox-${tab}-${index + 1}-enable input`);

/** All regions of a tab as the fields say, named as the server's settings. */
export function readRegions(tab) {
    const regions = [];
    for (let box; (box = enableBox(tab, regions.length));) {
        const id = `MD-${tab}-${regions.length + 1}`;
        const region = { enable: box.checked };
        for (const [name, field] of Object.entries(NUMBERS)) region[name] = number(`${id}-${field}`);
        for (const [name, field] of Object.entries(TEXTS)) region[name] = textField(`${id}-${field}`)?.value ?? '';
        regions.push(region);
    }
    return regions;
}

function tick(box, on) {
    if (box && box.checked !== on) box.click();
}

/** Set the changed fields of regions, [{ index, fields }] of all of them as they are now. With the first one that is
 * switched on regions as such are. What only a person can choose goes by the server, and arrives later. */
export function writeRegions(tab, regions, changes) {
    const switched = changes.some(({ fields }) => fields.enable);
    if (changes.some(({ fields }) => BY_SERVER.some((name) => name in fields))) {
        const { enable_bbox_control, ...layout } = readLayout(tab);
        sent += 1;
        send(`MD-${tab}-layout`, JSON.stringify({ ...layout, regions, enable_bbox_control: enable_bbox_control || switched, sent }));
        return;
    }
    for (const { index, fields: { enable, ...fields } } of changes) {
        for (const [name, value] of Object.entries(fields)) {
            const id = `MD-${tab}-${index + 1}-${NUMBERS[name] ?? TEXTS[name]}`;
            type(name in NUMBERS ? numberField(id) : textField(id), value);
        }
        if (enable !== undefined) tick(enableBox(tab, index), enable);
    }
    if (switched) tick(find(`#MD-${tab}-enable-bbox-control input`), true);
}

/** Which edges of a tab's picture are joined; see `NO_JOINS` of geometry.mjs. */
export function joins(tab) {
    const seamless = find(`#MD-${tab}-seamless input`)?.value;
    return { x: ['Horizontal', 'Both'].includes(seamless), y: ['Vertical', 'Both'].includes(seamless) };
}

/** The row of the host's buttons below its pictures. */
export const pictureButtons = (tab) => find(`#image_buttons_${HOST_TAB[tab]}`);

/** The picture that the host's gallery shows large, or its first. */
export function shownPicture(tab) {
    const gallery = find(`#${HOST_TAB[tab]}_gallery`);
    const image = gallery?.querySelector('.preview > img, .preview button > img') ?? gallery?.querySelector('img');
    return image?.naturalWidth ? image : null;
}

/** Open or close the row with a region's fields. */
export function openRow(tab, index, open) {
    const label = row(tab, index)?.querySelector('.label-wrap');
    if (label && label.classList.contains('open') !== open) label.click();
}

export function focusPrompt(tab, index) {
    promptField(tab, index)?.focus();
}

/** Give a region's row the colour of its box, and its prompt beside the number. */
export function markRow(tab, index, colour, text) {
    const label = row(tab, index)?.querySelector('.label-wrap > span:first-child');
    if (!label) return;
    label.style.setProperty('--md-colour', colour);
    if (label.dataset.mdPrompt !== text) label.dataset.mdPrompt = text;
}

/** Everything about a tab's regions, named as the server's settings. */
export function readLayout(tab) {
    const ticked = (id) => Boolean(find(`#${id} input`)?.checked);
    return {
        enable_bbox_control: ticked(`MD-${tab}-enable-bbox-control`),
        draw_background: ticked(`MD-${tab}-draw-background`),
        regions: readRegions(tab),
    };
}

/** Where the buttons over a tab's canvas belong. */
export const toolPlace = (tab) => find(`#MD-${tab}-tools`);

/** Does a tab have a reference image, to be seen or not? */
export const hasReference = (tab) => Boolean(find(`#MD-bbox-ref-${tab} img[src]`));

export const createReference = (tab) => find(`#MD-create-canvas-${tab}`)?.click();

/** The reference image and the element around it, when an image is there and to be seen. */
export function reference(tab) {
    const image = find(`#MD-bbox-ref-${tab} img`);
    if (!image?.naturalWidth || !image.offsetParent) return null;
    return { holder: image.parentElement, image };
}

/** The size of the picture that will be drawn from the page's sliders, in pixels. */
export function pageSize(tab) {
    if (tab === 't2i' && find('#MD-t2i-overwrite-image-size input')?.checked) {
        return { width: number('MD-overwrite-width-t2i'), height: number('MD-overwrite-height-t2i') };
    }
    if (tab === 'i2i' && find('#img2img_tab_resize_by')?.offsetParent) {
        const { naturalWidth = 0, naturalHeight = 0 } = inputImage() ?? {};
        const scale = number('img2img_scale');
        return { width: Math.floor(naturalWidth * scale), height: Math.floor(naturalHeight * scale) };
    }
    const host = HOST_TAB[tab];
    return { width: number(`${host}_width`), height: number(`${host}_height`) };
}

/** The regions' colours on the settings page, those that are some. */
export function chosenColours() {
    const text = (typeof opts === 'object' && opts.tiled_diffusion_region_colours) || '';
    return text.split(/\s+/).filter((word) => CSS.supports('color', word));
}

/** The picture that img2img starts from: that of the mode whose tab is in front. */
function inputImage() {
    const filled = INPUTS.map((id) => find(`#${id}`)).flatMap((holder) => {
        const image = holder?.querySelector('img');
        return image?.naturalWidth ? [{ holder, image }] : []; // Forge has an image without a picture, too
    });
    return (filled.find(({ holder }) => holder.offsetParent) ?? filled[0])?.image;
}

/** The same as a data URL, or null. */
export function img2imgInput() {
    return inputImage()?.src ?? null;
}

/** The size of the canvas that the boxes are fractions of, in pixels: the picture that will be drawn. */
export function canvasSize(tab) {
    const page = pageSize(tab);
    if (tab === 't2i') return page;
    const upscaler = find('#MD-i2i-upscaler-index input')?.value ?? 'None';
    const scale = upscaler === 'None' ? 1 : number('MD-i2i-upscaler-factor') || 1;
    const { naturalWidth, naturalHeight } = inputImage() ?? {};
    const kept = naturalWidth && find('#MD-i2i-keep-input-size input')?.checked;
    const { width, height } = kept ? { width: naturalWidth, height: naturalHeight } : page;
    return { width: 8 * Math.floor((width * scale) / 8), height: 8 * Math.floor((height * scale) / 8) };
}
