/* A generation's way through the page: its id, its progress and preview while it runs. */

const PROGRESS_POLL_MS = 400;
const PROGRESS_LOST_MS = 40000;

function randomTaskId() {
    const digits = Array.from(crypto.getRandomValues(new Uint32Array(4)), (number) => number.toString(36));
    return `task(${digits.join('')})`;
}

/* Called with the inputs of the click and then its outputs, which the server does not need back. */
function submitGeneration(tab, args) {
    const outputs = 4;
    const values = Array.from(args).slice(0, -outputs);
    values[0] = randomTaskId();
    requestProgress(values[0], gradioApp().getElementById(`${tab}_progress`));
    return values;
}

function submit_txt2img() {
    return submitGeneration('txt2img', arguments);
}

function submit_img2img() {
    return submitGeneration('img2img', arguments);
}

function progressText(state) {
    if (!state.active) return state.textinfo ?? '';
    const seconds = state.eta > 2 ? `, ${Math.round(state.eta)} s` : '';
    return `${Math.round(100 * state.progress)} %${seconds}`;
}

/* Show how far a task is in `place` until it has ended. */
function requestProgress(id, place) {
    const bar = document.createElement('div');
    bar.className = 'progressDiv';
    const done = bar.appendChild(document.createElement('div'));
    done.className = 'progress';
    const preview = document.createElement('div');
    preview.className = 'livePreview';
    place.append(bar, preview);
    const started = Date.now();
    let picture = -1;
    let wasActive = false;

    const end = () => {
        bar.remove();
        preview.remove();
    };
    const show = (state) => {
        wasActive ||= state.active;
        const lost = !state.queued && !state.active && (wasActive || Date.now() - started > PROGRESS_LOST_MS);
        if (state.completed || lost) return end();
        done.style.width = `${100 * (state.progress ?? 0)}%`;
        done.textContent = progressText(state);
        if (state.live_preview) {
            picture = state.id_live_preview;
            const image = document.createElement('img');
            image.src = state.live_preview;
            preview.replaceChildren(image);
        }
        setTimeout(ask, PROGRESS_POLL_MS);
    };
    const ask = () => {
        fetch('./internal/progress', {
            method: 'POST',
            headers: {'Content-Type': 'application/json'},
            body: JSON.stringify({id_task: id, id_live_preview: picture, live_preview: true}),
        })
            .then((answer) => answer.json())
            .then(show, end);
    };
    ask();
}
