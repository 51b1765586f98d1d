// Whether the component is being built: then the sources' top level runs, without an event and without a host.
let building = true;

export const isBuilding = () => building;

/** Called once, when all modules have run. */
export function endBuild() {
  building = false;
}

/** Throws while the component is built; `what` names the function that needs an event. */
export function needsEvent(what) {
  if (building) {
    throw new Error(
      `${what} needs an event: call it inside a handler, not at the top level, which runs when the component is built`,
    );
  }
}
