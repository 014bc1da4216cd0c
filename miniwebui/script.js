/* What the real WebUI gives an extension's page scripts, and the accordion that is also a checkbox. */

function gradioApp() {
    const app = document.getElementsByTagName('gradio-app')[0];
    return app?.shadowRoot ?? document;
}

const uiCallbacks = {loaded: [], update: []};

function onUiLoaded(callback) {
    uiCallbacks.loaded.push(callback);
}

function onUiUpdate(callback) {
    uiCallbacks.update.push(callback);
}

function updateInput(target) {
    target.dispatchEvent(new Event('input', {bubbles: true}));
}

/* Opening the accordion switches its hidden checkbox on, closing it switches it off. */
function setupAccordion(accordion) {
    const checkbox = gradioApp().querySelector(`#${accordion.id}-checkbox input`);
    const head = accordion.querySelector('.label-wrap');
    if (!checkbox || !head || accordion.dataset.ready) return;
    accordion.dataset.ready = 'true';
    const mark = document.createElement('input');
    mark.type = 'checkbox';
    mark.checked = checkbox.checked;
    mark.setAttribute('aria-label', 'enable');
    mark.addEventListener('click', (event) => event.stopPropagation());
    mark.addEventListener('change', () => {
        if (head.classList.contains('open') !== mark.checked) head.click();
    });
    head.insertBefore(mark, head.firstChild);
    new MutationObserver(() => {
        const open = head.classList.contains('open');
        mark.checked = open;
        if (checkbox.checked !== open) checkbox.click();
    }).observe(head, {attributes: true, attributeFilter: ['class']});
}

function inputAccordionChecked(id, checked) {
    const head = gradioApp().querySelector(`#${id} .label-wrap`);
    if (head && head.classList.contains('open') !== checked) head.click();
}

document.addEventListener('DOMContentLoaded', () => {
    let loaded = false;
    new MutationObserver((mutations) => {
        gradioApp().querySelectorAll('.input-accordion').forEach(setupAccordion);
        if (!loaded && gradioApp().querySelector('#txt2img_prompt')) {
            loaded = true;
            uiCallbacks.loaded.forEach((callback) => callback());
        }
        uiCallbacks.update.forEach((callback) => callback(mutations));
    }).observe(document, {childList: true, subtree: true});
});
