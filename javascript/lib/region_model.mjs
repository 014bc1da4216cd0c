// What the canvas shows, with its history. The page's fields are a view of it: what is done here is written to them,
// and what a person or the server sets there is taken over.

const PATIENCE = 6000; // ms until what was written must have arrived on the page
const MOST_STEPS = 200;

/** What of each region differs: [{ index, before, after }], both with these fields only. */
function differences(before, after) {
    return after.flatMap((region, index) => {
        const names = Object.keys(region).filter((name) => region[name] !== before[index]?.[name]);
        if (!names.length) return [];
        const of = (regions) => Object.fromEntries(names.map((name) => [name, regions[index]?.[name]]));
        return [{ index, before: of(before), after: of(after) }];
    });
}

export class RegionModel {
    /** `write(regions, [{ index, fields }])` sets the page's fields that have changed. */
    constructor(write) {
        this.write = write;
        this.regions = []; // the fields of each, named as the server's settings
        this.locked = new Set(); // of their numbers
        this.done = [];
        this.undone = [];
        this.start = null; // the regions before an edit that is under way
        this.expected = null;
        this.until = 0;
    }

    /** Take over what the page says, unless it is not up to date yet. */
    follow(regions) {
        if (this.start) return; // the pointer leads
        const arrived = ({ index, fields }) => Object.entries(fields).every(([name, value]) => regions[index]?.[name] === value);
        if (this.expected && performance.now() < this.until && !this.expected.every(arrived)) return;
        this.expected = null;
        this.regions = regions;
    }

    begin() {
        this.start ??= this.regions.map((region) => ({ ...region }));
    }

    /** An edit is over: one step of the history. */
    end() {
        if (!this.start) return;
        const changes = differences(this.start, this.regions);
        this.start = null;
        if (!changes.length) return;
        this.done = [...this.done.slice(1 - MOST_STEPS), changes];
        this.undone = [];
        this.apply(changes, 'after');
    }

    /** An edit in one go. */
    edit(change) {
        this.begin();
        change(this.regions);
        this.end();
    }

    undo() {
        this.step(this.done, this.undone, 'before');
    }

    redo() {
        this.step(this.undone, this.done, 'after');
    }

    step(from, to, side) {
        if (this.start || !from.length) return;
        const changes = from.pop();
        to.push(changes);
        this.apply(changes, side);
    }

    apply(changes, side) {
        this.expected = changes.map(({ index, [side]: fields }) => ({ index, fields }));
        this.until = performance.now() + PATIENCE;
        for (const { index, fields } of this.expected) Object.assign(this.regions[index], fields);
        this.write(this.regions, this.expected);
    }
}
