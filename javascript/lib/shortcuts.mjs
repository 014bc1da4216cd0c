// What keys do on the canvas.

const TOOLS = { v: 'box', b: 'brush', e: 'eraser' };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = 8; // times as far with Shift

/** Do what a key means; true if it meant something. */
export function command(editor, event) {
    if (event.altKey) return false;
    return event.ctrlKey || event.metaKey ? withControl(editor, event) : plain(editor, event);
}

function withControl(editor, { key, shiftKey }) {
    const letter = key.toLowerCase();
    if (letter === 'z' && !shiftKey) editor.model.undo();
    else if (letter === 'y' || letter === 'z') editor.model.redo();
    else if (letter === 'c') editor.copy();
    else if (letter === 'v') editor.paste();
    else return false;
    editor.show();
    return true;
}

function plain(editor, { key, shiftKey }) {
    if (key in ARROWS) return editor.nudge(...ARROWS[key].map((step) => step * (shiftKey ? FAR : 1)));
    if (key >= '1' && key <= '9') return editor.choose(Number(key));
    if (key === 'Delete' || key === 'Backspace') return editor.switchOff();
    if (key === '[' || key === ']') editor.resizeBrush(key === '[' ? -1 : 1);
    else if (key.toLowerCase() in TOOLS) editor.take(TOOLS[key.toLowerCase()]);
    else if (editor.selected === null) return false;
    else if (key === 'Escape') editor.select(null);
    else if (key === 'Enter') editor.events.edit(editor.selected);
    else return false;
    return true;
}
