/* What buttons of the page do in the page itself: other tabs, the gallery's chosen picture, the options. */

function showTab(title) {
    const buttons = gradioApp().querySelectorAll('#tabs > .tab-nav > button');
    Array.from(buttons).find((button) => button.textContent.trim() === title)?.click();
}

function switch_to_txt2img() {
    showTab('txt2img');
    return Array.from(arguments);
}

function switch_to_img2img() {
    showTab('img2img');
    gradioApp().querySelector('#mode_img2img > .tab-nav > button')?.click();
    return Array.from(arguments);
}

/* The number of the picture that is chosen in the gallery of the tab in front; −1 if none is. */
function selected_gallery_index() {
    const thumbnails = get_uiCurrentTabContent()?.querySelectorAll('.gradio-gallery .thumbnail-item') ?? [];
    return Array.from(thumbnails).findIndex((item) => item.classList.contains('selected'));
}

function extract_image_from_gallery(gallery) {
    if (!gallery?.length) return [null];
    const index = selected_gallery_index();
    return [[gallery[index >= 0 && index < gallery.length ? index : 0]]];
}

/* The server keeps the options, as JSON, in a hidden text field. */
function readOptions(text) {
    for (const key of Object.keys(opts)) delete opts[key];
    Object.assign(opts, JSON.parse(text));
    runCallbacks(uiCallbacks.optionsChanged);
}

onAfterUiUpdate(() => {
    const field = gradioApp().querySelector('#settings_json textarea');
    if (!field?.value || field.value === field.lastOptions) return;
    const first = field.lastOptions === undefined;
    field.lastOptions = field.value;
    readOptions(field.value);
    if (first) {
        showComments();
        runCallbacks(uiCallbacks.optionsAvailable.splice(0));
    }
});

/* The remarks on an option, which gradio's labels do not know, beside its label. */
function showComments() {
    for (const [key, comment] of Object.entries(opts._comments_after)) {
        const label = gradioApp().querySelector(`#${CSS.escape(`setting_${key}`)} span`);
        if (label && comment) label.insertAdjacentHTML('afterend', ` ${comment}`);
    }
}
