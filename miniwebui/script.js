/* What the real WebUI gives an extension's page scripts, and the accordion that is also a checkbox. */

const AFTER_UPDATE_MS = 200;
const opts = {};
const uiCallbacks = {loaded: [], update: [], afterUpdate: [], tabChange: [], optionsChanged: [], optionsAvailable: []};

function gradioApp() {
    const app = document.getElementsByTagName('gradio-app')[0];
    return app?.shadowRoot ?? document;
}

function get_uiCurrentTab() {
    return gradioApp().getElementById('tabs')?.querySelector(':scope > .tab-nav > .selected') ?? null;
}

function get_uiCurrentTabContent() {
    const contents = [...(gradioApp().getElementById('tabs')?.children ?? [])];
    return contents.find((tab) => tab.matches('.tabitem') && tab.style.display !== 'none') ?? null;
}

/* callback(), once, when the page is there */
function onUiLoaded(callback) {
    uiCallbacks.loaded.push(callback);
}

/* callback(mutation records), whenever the page changes */
function onUiUpdate(callback) {
    uiCallbacks.update.push(callback);
}

/* callback(), when the page has changed and then been still for a moment */
function onAfterUiUpdate(callback) {
    uiCallbacks.afterUpdate.push(callback);
}

/* callback(), when another tab is in front */
function onUiTabChange(callback) {
    uiCallbacks.tabChange.push(callback);
}

/* callback(), when options have been read and whenever they change */
function onOptionsChanged(callback) {
    uiCallbacks.optionsChanged.push(callback);
}

/* callback(), once, when options have been read */
function onOptionsAvailable(callback) {
    if (Object.keys(opts).length) callback();
    else uiCallbacks.optionsAvailable.push(callback);
}

/* One callback's error must not keep the others from running. */
function runCallbacks(callbacks, ...args) {
    for (const callback of callbacks) {
        try {
            callback(...args);
        } catch (error) {
            console.error('a page callback failed', callback, error);
        }
    }
}

/* Tell gradio that an input's value was set by a script. */
function updateInput(target) {
    target.dispatchEvent(new Event('input', {bubbles: true}));
}

/*
 * Opening the accordion ticks the box in its label and closing it unticks it, until the user clicks the box itself:
 * from then on the box alone says whether the script runs, and the accordion only folds.
 */
function setupAccordion(accordion) {
    const checkbox = gradioApp().querySelector(`#${CSS.escape(accordion.id)}-checkbox input`);
    const head = accordion.querySelector('.label-wrap');
    if (!checkbox || !head || accordion.visibleCheckbox) return;
    const isOpen = () => head.classList.contains('open');
    let linked = true;

    const mark = document.createElement('input');
    mark.type = 'checkbox';
    mark.id = `${accordion.id}-visible-checkbox`;
    mark.className = `${checkbox.className} input-accordion-checkbox`;
    mark.checked = isOpen();
    mark.setAttribute('aria-label', `enable ${head.textContent.trim()}`);

    accordion.visibleCheckbox = mark;
    accordion.onVisibleCheckboxChange = () => {
        if (linked && isOpen() !== mark.checked) head.click();
        checkbox.checked = mark.checked;
        updateInput(checkbox);
    };
    mark.addEventListener('click', (event) => {
        linked = false;
        event.stopPropagation();
    });
    mark.addEventListener('input', accordion.onVisibleCheckboxChange);
    new MutationObserver(() => {
        accordion.classList.toggle('input-accordion-open', isOpen());
        if (!linked) return;
        mark.checked = isOpen();
        accordion.onVisibleCheckboxChange();
    }).observe(head, {attributes: true, attributeFilter: ['class']});

    const title = head.querySelector('span');
    title.insertBefore(mark, title.firstChild);
    const extra = gradioApp().querySelector(`#${CSS.escape(accordion.id)}-extra`);
    if (extra) head.insertBefore(extra, head.lastElementChild);
}

/* The server changed the hidden checkbox: a pasted picture, for one. */
function inputAccordionChecked(id, checked) {
    const accordion = gradioApp().getElementById(id);
    if (!accordion?.visibleCheckbox) return;
    accordion.visibleCheckbox.checked = checked;
    accordion.onVisibleCheckboxChange();
}

/* `tooltip=` of a component, which gradio does not know, becomes its title. */
function showTooltips() {
    for (const component of window.gradio_config?.components ?? []) {
        const id = component.props?.elem_id;
        if (component.props?.webui_tooltip && id) {
            gradioApp().getElementById(id)?.setAttribute('title', component.props.webui_tooltip);
        }
    }
}

onUiLoaded(() => gradioApp().querySelectorAll('.input-accordion').forEach(setupAccordion));
onUiLoaded(showTooltips);

document.addEventListener('DOMContentLoaded', () => {
    let loaded = false;
    let stillTimer = null;
    let tab = null;
    new MutationObserver((mutations) => {
        if (!loaded && gradioApp().querySelector('#txt2img_prompt')) {
            loaded = true;
            runCallbacks(uiCallbacks.loaded);
        }
        runCallbacks(uiCallbacks.update, mutations);
        clearTimeout(stillTimer);
        stillTimer = setTimeout(() => runCallbacks(uiCallbacks.afterUpdate), AFTER_UPDATE_MS);
        const current = get_uiCurrentTab();
        if (current && current !== tab) {
            tab = current;
            runCallbacks(uiCallbacks.tabChange);
        }
    }).observe(document, {childList: true, subtree: true});
});
