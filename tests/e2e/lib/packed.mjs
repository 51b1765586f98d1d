// The client package as npm packs it, installed beside what it needs.
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { temporaryDirectory } from './server.mjs';

const E2E = resolve(import.meta.dirname, '..');
/** Where the package lies. */
export const PACKAGE = resolve(E2E, '../../examples/web-chat/client');

/** The paths of the files that `npm pack` puts into the tarball. */
export function packedFiles() {
  const output = execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: PACKAGE, encoding: 'utf8' });
  return JSON.parse(output)[0].files.map(({ path }) => path).sort();
}

/** Packs the package and unpacks it into a project's `node_modules`, where `modules` are too. Returns the project. */
export function installPacked(modules) {
  const project = temporaryDirectory();
  const output = execFileSync('npm', ['pack', '--json', '--pack-destination', project], { cwd: PACKAGE, encoding: 'utf8' });
  const installed = join(project, 'node_modules', '@parlance', 'client');
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(project, JSON.parse(output)[0].filename), '-C', installed, '--strip-components=1']);
  for (const name of modules) symlinkSync(join(E2E, 'node_modules', name), join(project, 'node_modules', name));
  return project;
}
