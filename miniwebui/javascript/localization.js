/* Puts the translations of the chosen language (`window.localization`, made by the server) into the page. */

const LOCALIZATION_SKIPPED = new Set(['SCRIPT', 'STYLE', 'TEXTAREA']);
const LOCALIZATION_NO_TEXT = /^[.\d]+$|[\p{Extended_Pictographic}]/u;

function hasLocalization() {
    return Object.keys(window.localization ?? {}).length > 0;
}

function getTranslation(text) {
    return Object.hasOwn(window.localization, text) ? window.localization[text] : undefined;
}

function translateText(node) {
    const text = node.textContent.trim();
    if (!text || !node.parentElement || LOCALIZATION_SKIPPED.has(node.parentElement.nodeName)) return;
    if (LOCALIZATION_NO_TEXT.test(text)) return;
    const translated = getTranslation(text);
    if (translated !== undefined) node.textContent = translated;
}

function translateAttributes(element) {
    for (const name of ['title', 'placeholder']) {
        const translated = element[name] ? getTranslation(element[name]) : undefined;
        if (translated !== undefined) element[name] = translated;
    }
}

function translateNode(node) {
    if (node.nodeType === Node.TEXT_NODE) return translateText(node);
    if (node.nodeType !== Node.ELEMENT_NODE && node.nodeType !== Node.DOCUMENT_NODE) return;
    if (node.nodeType === Node.ELEMENT_NODE) translateAttributes(node);
    const walk = document.createTreeWalker(node, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    while (walk.nextNode()) {
        if (walk.currentNode.nodeType === Node.TEXT_NODE) translateText(walk.currentNode);
        else translateAttributes(walk.currentNode);
    }
}

if (hasLocalization()) {
    onUiUpdate((mutations) => mutations.forEach((mutation) => mutation.addedNodes.forEach(translateNode)));
    onUiLoaded(() => translateNode(gradioApp()));
    if (window.localization.rtl) document.documentElement.dir = 'rtl';
}
